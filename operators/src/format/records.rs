//! Where a record ends: at the end of its line, or for CSV at the first line break that stands in no quoted field.
//!
//! Invariant: the end of a record is decided by the bytes from its beginning on and by nothing else, in whatever pieces they
//! come. A quote opens a field only at its beginning, so that a stray one further on costs one line. Within quotes a line
//! break ends the record all the same once the record is longer than is allowed: a quote that is never closed costs so much
//! and not the rest of the file.

use memchr::{memchr, memchr2, memrchr};

/// How the records of a format end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRule {
    /// What stands between two fields, where a field may be quoted.
    delimiter: Option<u8>,
    /// A longer record is a bad one; in bytes.
    most: usize,
}

impl RecordRule {
    /// A record is a line.
    pub fn lines(most: usize) -> Self {
        RecordRule { delimiter: None, most }
    }

    /// A record is what RFC 4180 says.
    pub fn csv(delimiter: u8, most: usize) -> Self {
        RecordRule { delimiter: Some(delimiter), most }
    }

    /// The most bytes that a record may have.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Where the first record of `bytes` ends: at a line break. None if its end is not there.
    #[inline]
    pub fn end(&self, bytes: &[u8]) -> Option<usize> {
        match self.delimiter {
            None => memchr(b'\n', bytes),
            Some(_) => RecordScanner::new(*self).next_end(bytes),
        }
    }
}

/// Looks for the ends of records in bytes that come piece by piece.
#[derive(Debug)]
pub struct RecordScanner {
    rule: RecordRule,
    state: State,
    /// Bytes of the record that has begun.
    begun: usize,
}

/// Where the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the beginning of a field.
    FieldStart,
    /// In a field without quotes, or behind the closing quote of one.
    Unquoted,
    Quoted,
    /// Behind a quote inside of quotes: it closes them, unless another one follows.
    QuoteInQuotes,
}

impl RecordScanner {
    /// At the beginning of a record.
    pub fn new(rule: RecordRule) -> Self {
        RecordScanner { rule, state: State::FieldStart, begun: 0 }
    }

    /// Where the last record that ends in `bytes` ends: the place behind its line break. What follows has begun.
    pub fn last_end(&mut self, bytes: &[u8]) -> Option<usize> {
        if !self.in_quotes() && (self.rule.delimiter.is_none() || memchr(b'"', bytes).is_none()) {
            let end = memrchr(b'\n', bytes).map(|place| place + 1);
            if let Some(end) = end {
                (self.state, self.begun) = (State::FieldStart, 0);
                self.pass_unquoted(&bytes[end..]);
            } else {
                self.pass_unquoted(bytes);
            }
            return end;
        }
        let mut last = None;
        let mut at = 0;
        while let Some(end) = self.next_end(&bytes[at..]) {
            at += end + 1;
            last = Some(at);
        }
        last
    }

    fn in_quotes(&self) -> bool {
        matches!(self.state, State::Quoted | State::QuoteInQuotes)
    }

    /// Takes bytes without a quote or a line break, outside of quotes.
    fn pass_unquoted(&mut self, bytes: &[u8]) {
        self.begun += bytes.len();
        if let Some(last) = bytes.last() {
            self.state = if Some(*last) == self.rule.delimiter { State::FieldStart } else { State::Unquoted };
        }
    }

    /// The line break that ends the record. The scanner is then at the beginning of the next one; without any, all of
    /// `bytes` has been taken.
    fn next_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let Some(delimiter) = self.rule.delimiter else { return memchr(b'\n', bytes) };
        if !self.in_quotes() {
            // Most lines have no quote.
            let line = memchr(b'\n', bytes);
            if memchr(b'"', &bytes[..line.unwrap_or(bytes.len())]).is_none() {
                match line {
                    Some(_) => (self.state, self.begun) = (State::FieldStart, 0),
                    None => self.pass_unquoted(bytes),
                }
                return line;
            }
        }
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                State::FieldStart if bytes[at] == b'"' => (self.state, at) = (State::Quoted, at + 1),
                State::FieldStart => self.state = State::Unquoted,
                State::Unquoted => match memchr2(delimiter, b'\n', &bytes[at..]) {
                    None => at = bytes.len(),
                    Some(found) => {
                        at += found;
                        if bytes[at] == b'\n' {
                            return self.ended(at);
                        }
                        (self.state, at) = (State::FieldStart, at + 1);
                    }
                },
                State::Quoted => match memchr2(b'"', b'\n', &bytes[at..]) {
                    None => at = bytes.len(),
                    Some(found) => {
                        at += found;
                        if bytes[at] == b'"' {
                            self.state = State::QuoteInQuotes;
                        } else if self.begun + at > self.rule.most {
                            return self.ended(at);
                        }
                        at += 1;
                    }
                },
                State::QuoteInQuotes if bytes[at] == b'"' => (self.state, at) = (State::Quoted, at + 1),
                State::QuoteInQuotes => self.state = State::Unquoted,
            }
        }
        self.begun += bytes.len();
        None
    }

    fn ended(&mut self, at: usize) -> Option<usize> {
        (self.state, self.begun) = (State::FieldStart, 0);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOST: usize = 1 << 20;

    /// All records, without their line breaks; the last one may lack its own.
    fn records(rule: RecordRule, mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let end = rule.end(bytes).unwrap_or(bytes.len());
            found.push(&bytes[..end]);
            bytes = bytes.get(end + 1..).unwrap_or_default();
        }
        found
    }

    #[test]
    fn quotes_hold_line_breaks_only_where_they_open_a_field() {
        for (text, expected) in [
            ("a,\"b\nc\",d\ne\n", &["a,\"b\nc\",d", "e"][..]),
            ("\"\"\"\n\"\"\",x\r\ny", &["\"\"\"\n\"\"\",x\r", "y"]),
            ("5\" nails\nb\n", &["5\" nails", "b"]),
            ("\"a\"b\"\nc\"\n", &["\"a\"b\"", "c\""]),
            ("a,\"\"\nb\n", &["a,\"\"", "b"]),
            ("\n\n", &["", ""]),
            ("a,\"never closed\nb\nc", &["a,\"never closed\nb\nc"]),
        ] {
            let found = records(RecordRule::csv(b',', MOST), text.as_bytes());
            assert_eq!(found, expected.iter().map(|record| record.as_bytes()).collect::<Vec<_>>(), "{text:?}");
        }
        assert_eq!(records(RecordRule::csv(b';', MOST), b"a,\"b\nc\"\n").len(), 2);
        assert_eq!(records(RecordRule::lines(MOST), b"a,\"b\nc\"\n").len(), 2);
    }

    #[test]
    fn a_quote_that_is_never_closed_costs_so_much_and_no_more() {
        let text = format!("\"{}\nnext\n", "x\n".repeat(20));
        let found = records(RecordRule::csv(b',', 10), text.as_bytes());
        assert_eq!(found[0].len(), 12, "the first line break behind the tenth byte");
        assert_eq!(found[1], b"x");
    }

    proptest! {
        #[test]
        fn records_begin_where_the_csv_crate_says(text in "[a,;\" \r\n]{0,60}") {
            // It skips empty lines, which are bad lines here.
            let text = text.as_bytes();
            let mut builder = csv::ReaderBuilder::new();
            builder.has_headers(false).flexible(true).terminator(csv::Terminator::Any(b'\n'));
            let mut reader = builder.from_reader(text);
            let mut record = csv::ByteRecord::new();
            let mut expected = Vec::new();
            while reader.read_byte_record(&mut record).expect("any bytes are taken") {
                expected.push(record.len());
            }
            let rule = RecordRule::csv(b',', MOST);
            let own: Vec<_> = records(rule, text).into_iter().filter(|record| !record.is_empty()).collect();
            prop_assert_eq!(own.len(), expected.len());
            for (record, fields) in own.iter().zip(expected) {
                let mut alone = csv::ReaderBuilder::new().has_headers(false).flexible(true).terminator(csv::Terminator::Any(b'\n')).from_reader(*record);
                let mut read = csv::ByteRecord::new();
                prop_assert!(alone.read_byte_record(&mut read).expect("readable"));
                prop_assert_eq!(read.len(), fields);
            }
        }

        #[test]
        fn the_ends_do_not_depend_on_the_pieces(
            text in "[a,\"\n]{0,80}",
            most in prop_oneof![Just(MOST), 3usize..20],
            pieces in proptest::collection::vec(1usize..9, 1..6),
        ) {
            let text = text.as_bytes();
            let rule = RecordRule::csv(b',', most);
            let whole = records(rule, text);
            let mut ends = Vec::new();
            let mut end = 0;
            for record in &whole {
                end += record.len() + 1;
                if end <= text.len() {
                    ends.push(end);
                }
            }
            let mut scanner = RecordScanner::new(rule);
            let (mut at, mut pieces) = (0, pieces.iter().cycle());
            while at < text.len() {
                let piece = &text[at..text.len().min(at + pieces.next().expect("endless"))];
                let last = ends.iter().rev().find(|end| (at + 1..=at + piece.len()).contains(*end)).map(|end| end - at);
                prop_assert_eq!(scanner.last_end(piece), last, "at {}", at);
                at += piece.len();
            }
        }
    }
}
