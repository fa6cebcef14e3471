//! Walks over the JSON object of one line (RFC 8259) without building anything.
//!
//! Invariant: a line is walked to its end only if it is one well-formed object; what serde_json accepts is accepted and
//! nothing else. The text given is UTF-8 already. Nesting is bounded, so that no line exhausts the stack.

use std::borrow::Cow;

/// How deeply values may be nested, as in serde_json.
const MAX_DEPTH: usize = 127;

/// A string as it stands in the line, without its quotes.
#[derive(Debug, Clone, Copy)]
pub struct Text<'line> {
    raw: &'line str,
    /// Whether there are escapes in it; they are known to be well-formed.
    escaped: bool,
}

impl<'line> Text<'line> {
    /// The string that is meant.
    #[inline]
    pub fn unescaped(&self) -> Cow<'line, str> {
        if self.escaped { Cow::Owned(unescape(self.raw)) } else { Cow::Borrowed(self.raw) }
    }
}

/// A value of a wanted key.
#[derive(Debug, Clone, Copy)]
pub enum Token<'line> {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean(bool),
    /// A number as it stands in the line.
    Number(&'line str),
    /// A string.
    Text(Text<'line>),
    /// An array or an object, skipped.
    Nested(&'line str),
}

impl Token<'_> {
    /// The value as a bad line's reason names it.
    #[cold]
    pub fn for_people(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Boolean(value) => value.to_string(),
            Self::Number(number) => shortened(number),
            Self::Text(text) => format!("\"{}\"", shortened(text.raw)),
            Self::Nested(text) => shortened(text),
        }
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A place in a line.
#[derive(Debug)]
pub struct Scanner<'line> {
    line: &'line str,
    position: usize,
    /// Whether a key or an element has been read, so that a comma must come before the next.
    after_first_key: bool,
}

impl<'line> Scanner<'line> {
    /// At the beginning of a line.
    pub fn new(line: &'line str) -> Self {
        Self { line, position: 0, after_first_key: false }
    }

    /// Enters the object that the line is.
    #[inline]
    pub fn begin_object(&mut self) -> Result<(), String> {
        self.skip_blanks();
        self.expect(b'{', "an object, starting with {")
    }

    /// Enters the array that the text is.
    pub fn begin_array(&mut self) -> Result<(), String> {
        self.skip_blanks();
        self.expect(b'[', "an array, starting with [")
    }

    /// The next value of the array; none at its end.
    pub fn next_element(&mut self) -> Result<Option<Token<'line>>, String> {
        self.skip_blanks();
        if self.peek() == Some(b']') {
            self.position += 1;
            return Ok(None);
        }
        if self.after_first_key {
            self.expect(b',', "a comma or ]")?;
            self.skip_blanks();
        }
        self.after_first_key = true;
        self.value().map(Some)
    }

    /// The next key of the object, its colon passed; none at the end of the object.
    #[inline]
    pub fn next_key(&mut self) -> Result<Option<Text<'line>>, String> {
        self.skip_blanks();
        if self.peek() == Some(b'}') {
            self.position += 1;
            return Ok(None);
        }
        if self.after_first_key {
            self.expect(b',', "a comma or }")?;
            self.skip_blanks();
        }
        self.after_first_key = true;
        self.key().map(Some)
    }

    /// Passes over the next key and its colon if they are, without a blank between them, `expected`: a comma where one is
    /// due, the key in quotes, a colon. Keys mostly come in the same order and without blanks.
    #[inline]
    pub fn pass_key(&mut self, expected: &str) -> bool {
        let rest = &self.line.as_bytes()[self.position..];
        let Some(rest) = (if self.after_first_key { rest.strip_prefix(b",") } else { Some(rest) }) else {
            return false;
        };
        if !rest.starts_with(expected.as_bytes()) {
            return false;
        }
        self.position = self.line.len() - rest.len() + expected.len();
        self.after_first_key = true;
        self.skip_blanks();
        true
    }

    #[inline]
    fn key(&mut self) -> Result<Text<'line>, String> {
        self.expect(b'"', "a key in double quotes")?;
        let key = self.string()?;
        self.skip_blanks();
        self.expect(b':', "a colon")?;
        self.skip_blanks();
        Ok(key)
    }

    /// The value of the key just read.
    #[inline]
    pub fn value(&mut self) -> Result<Token<'line>, String> {
        match self.peek() {
            Some(b'"') => {
                self.position += 1;
                self.string().map(Token::Text)
            }
            Some(b'-' | b'0'..=b'9') => self.number().map(Token::Number),
            Some(b'n') => self.word("null").map(|()| Token::Null),
            Some(b't') => self.word("true").map(|()| Token::Boolean(true)),
            Some(b'f') => self.word("false").map(|()| Token::Boolean(false)),
            Some(b'{' | b'[') => {
                let begin = self.position;
                self.skip_nested()?;
                Ok(Token::Nested(&self.line[begin..self.position]))
            }
            _ => Err(self.unexpected("a value")),
        }
    }

    /// Passes over the value of the key just read.
    #[inline]
    pub fn skip_value(&mut self) -> Result<(), String> {
        self.value().map(drop)
    }

    /// Makes sure that nothing follows the object.
    #[inline]
    pub fn end_line(&mut self) -> Result<(), String> {
        self.skip_blanks();
        if self.position == self.line.len() { Ok(()) } else { Err(self.unexpected("the end of the line")) }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.line.as_bytes().get(self.position).copied()
    }

    #[inline]
    fn expect(&mut self, byte: u8, what: &str) -> Result<(), String> {
        if self.peek() == Some(byte) {
            self.position += 1;
            return Ok(());
        }
        Err(self.unexpected(what))
    }

    #[inline]
    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.position += 1;
        }
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        if self.line.as_bytes()[self.position..].starts_with(word.as_bytes()) {
            self.position += word.len();
            return Ok(());
        }
        Err(self.unexpected(word))
    }

    /// The string whose opening quote has just been passed.
    #[inline]
    fn string(&mut self) -> Result<Text<'line>, String> {
        let begin = self.position;
        let mut escaped = false;
        loop {
            self.position += plain_length(&self.line.as_bytes()[self.position..]);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.unexpected("a control character in a string to be escaped")),
                None => return Err(self.unexpected("a closing quote")),
            }
        }
        let raw = &self.line[begin..self.position];
        self.position += 1;
        Ok(Text { raw, escaped })
    }

    /// Passes over a well-formed escape; a surrogate must be followed by its other half.
    #[cold]
    fn escape(&mut self) -> Result<(), String> {
        let what = "a well-formed escape such as \\n or \\u00e9";
        let bytes = self.line.as_bytes();
        match bytes.get(self.position + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.position += 2,
            Some(b'u') => match hex(bytes, self.position + 2) {
                Some(0xdc00..0xe000) | None => return Err(self.unexpected(what)),
                Some(0xd800..0xdc00) => {
                    let follows = bytes.get(self.position + 6..self.position + 8) == Some(b"\\u");
                    match hex(bytes, self.position + 8) {
                        Some(0xdc00..0xe000) if follows => self.position += 12,
                        _ => return Err(self.unexpected("the other half of a surrogate pair")),
                    }
                }
                Some(_) => self.position += 6,
            },
            _ => return Err(self.unexpected(what)),
        }
        Ok(())
    }

    #[inline]
    fn number(&mut self) -> Result<&'line str, String> {
        let begin = self.position;
        if self.peek() == Some(b'-') {
            self.position += 1;
        }
        if self.peek() == Some(b'0') {
            self.position += 1;
            if let Some(b'0'..=b'9') = self.peek() {
                return Err(self.unexpected("no digit after a leading zero"));
            }
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.position += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.position += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.position += 1;
            }
            self.digits()?;
        }
        Ok(&self.line[begin..self.position])
    }

    #[inline]
    fn digits(&mut self) -> Result<(), String> {
        let begin = self.position;
        while let Some(b'0'..=b'9') = self.peek() {
            self.position += 1;
        }
        if self.position > begin { Ok(()) } else { Err(self.unexpected("a digit")) }
    }

    /// Passes over an array or an object, however deep, with a stack of its own.
    fn skip_nested(&mut self) -> Result<(), String> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            // Here a value begins.
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    if open.len() + 1 >= MAX_DEPTH {
                        return Err(format!("the line is nested more than {MAX_DEPTH} levels deep"));
                    }
                    self.position += 1;
                    self.skip_blanks();
                    let closing = if bracket == b'{' { b'}' } else { b']' };
                    if self.peek() != Some(closing) {
                        open.push(closing);
                        if closing == b'}' {
                            self.key()?;
                        }
                        continue;
                    }
                    self.position += 1;
                }
                _ => {
                    self.value()?;
                }
            }
            // Here a value has ended, and so may the ones around it.
            loop {
                let Some(&closing) = open.last() else {
                    return Ok(());
                };
                self.skip_blanks();
                if self.peek() == Some(closing) {
                    self.position += 1;
                    open.pop();
                    continue;
                }
                self.expect(b',', if closing == b'}' { "a comma or }" } else { "a comma or ]" })?;
                self.skip_blanks();
                if closing == b'}' {
                    self.key()?;
                }
                break;
            }
        }
    }

    #[cold]
    fn unexpected(&self, expected: &str) -> String {
        let column = self.position + 1;
        let rest = self.line.get(self.position..).unwrap_or_default();
        match rest.chars().next() {
            Some(character) => {
                format!("not JSON: at byte {column} there is {character:?}, where {expected} is expected")
            }
            None => {
                format!("not JSON: the line ends at byte {column}, where {expected} is expected")
            }
        }
    }
}

/// How many bytes of a string stand for themselves: up to a quote, a backslash or a control character.
///
/// Eight bytes at a time, with the tests for a byte in a word from "Bit Twiddling Hacks" (S. E. Anderson): a subtraction
/// borrows only from bytes above one that is found, so the lowest found is right.
#[inline]
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & TOPS;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
        let found = below(word, 0x20) | quote | backslash;
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    words.len() * 8 + rest.iter().take_while(|byte| plain(byte)).count()
}

/// Four hexadecimal digits.
fn hex(bytes: &[u8], position: usize) -> Option<u32> {
    let digits = bytes.get(position..position + 4)?;
    digits.iter().try_fold(0, |value, byte| Some(value * 16 + char::from(*byte).to_digit(16)?))
}

/// What a raw string with well-formed escapes means.
#[cold]
fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(position) = memchr::memchr(b'\\', rest.as_bytes()) {
        text.push_str(&rest[..position]);
        let bytes = rest.as_bytes();
        let mut length = 2;
        match bytes.get(position + 1) {
            Some(b'b') => text.push('\u{8}'),
            Some(b'f') => text.push('\u{c}'),
            Some(b'n') => text.push('\n'),
            Some(b'r') => text.push('\r'),
            Some(b't') => text.push('\t'),
            Some(b'u') => {
                let first = hex(bytes, position + 2).unwrap_or_default();
                let code_point = if (0xd800..0xdc00).contains(&first) {
                    length = 12;
                    let second = hex(bytes, position + 8).unwrap_or_default();
                    0x1_0000 + ((first & 0x3ff) << 10) + (second & 0x3ff)
                } else {
                    length = 6;
                    first
                };
                text.push(char::from_u32(code_point).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => text.push(char::from(*other)),
            None => {}
        }
        rest = rest.get(position + length..).unwrap_or_default();
    }
    text.push_str(rest);
    text
}
