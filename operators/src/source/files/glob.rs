//! Patterns for paths: `*` and `?` within a name, `[a-z]` and `[!a-z]` for one character, `**` for any folders. Names that
//! begin with `.` or `_` are fitted only by what begins with the same character.
//!
//! The crate `globset` compares bytes: there `?` fits no `é`, and `[é]` fits any name with one of its bytes. It also takes
//! `{a,b}` for a choice, where a brace is a character like any other here, knows no hidden names, and refuses what it cannot
//! read. So this is our own.

/// Whether a path is a pattern.
pub(super) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// Whether a pattern asks for names that begin with `.` or `_`.
pub(super) fn names_hidden(pattern: &str) -> bool {
    pattern.split('/').any(|name| name.starts_with(['.', '_']) && !matches!(name, "." | ".."))
}

/// Whether a path, with `/` between its names, fits a pattern.
pub(in crate::source) fn matches(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').filter(|name| !name.is_empty()).collect();
    let path: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    names_match(&pattern, &path)
}

/// Goes through the pattern once: which beginnings of the path its names so far fit says all that matters for the next one.
fn names_match(pattern: &[&str], path: &[&str]) -> bool {
    let mut fitted = vec![false; path.len() + 1];
    fitted[0] = true;
    for name in pattern {
        let mut next = vec![false; path.len() + 1];
        let mut goes_on = false;
        for length in 0..=path.len() {
            let following = path.get(length);
            if *name == "**" {
                goes_on |= fitted[length];
                next[length] = goes_on;
                goes_on &= following.is_some_and(|following| !following.starts_with(['.', '_']));
            } else if let Some(following) = following.filter(|_| fitted[length]) {
                next[length + 1] = one_matches(name, following);
            }
        }
        fitted = next;
    }
    fitted[path.len()]
}

/// Whether a name of a path fits one of the pattern.
fn one_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let hidden = name.first().filter(|character| matches!(character, '.' | '_'));
    let asked_for = hidden.is_none() || pattern.first() == hidden;
    asked_for && name_matches(&pattern, &name)
}

/// Goes back to the last `*` only: a longer match of an earlier one can never help.
fn name_matches(pattern: &[char], name: &[char]) -> bool {
    let (mut at, mut place) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while place < name.len() {
        if pattern.get(at) == Some(&'*') {
            star = Some((at, place));
            at += 1;
        } else if let Some(length) = character_matches(&pattern[at..], name[place]) {
            at += length;
            place += 1;
        } else if let Some((star_at, star_place)) = star {
            star = Some((star_at, star_place + 1));
            (at, place) = (star_at + 1, star_place + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|character| *character == '*')
}

/// How long the part of the pattern is that fits one character.
fn character_matches(pattern: &[char], character: char) -> Option<usize> {
    match pattern.split_first()? {
        ('?', _) => Some(1),
        ('[', class) => {
            let negated = class.first() == Some(&'!');
            let members = &class[usize::from(negated)..];
            // A closing bracket that comes first is a member.
            let close = members.iter().skip(1).position(|member| *member == ']')? + 1;
            let members = &members[..close];
            let mut found = false;
            let mut index = 0;
            while let Some(first) = members.get(index) {
                match members.get(index + 1..index + 3) {
                    Some(['-', last]) => {
                        found |= (*first..=*last).contains(&character);
                        index += 3;
                    }
                    _ => {
                        found |= *first == character;
                        index += 1;
                    }
                }
            }
            (found != negated).then_some(close + 2 + usize::from(negated))
        }
        (other, _) => (*other == character).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_fit_paths() {
        for (pattern, path) in [
            ("*.log", "a.log"),
            ("a*b*c", "abbbc"),
            ("a*b*c", "abcbc"),
            ("server-?/clicks*", "server-1/clicks.log.1"),
            ("**/*.log", "a.log"),
            ("**/*.log", "x/y/a.log"),
            ("x/**/a", "x/a"),
            ("[a-c]1[!0-9]", "b1x"),
            ("[]]", "]"),
            ("é*", "éa"),
            ("?.log", "é.log"),
            ("[à-é].log", "ç.log"),
            ("{a,b}*", "{a,b}c"),
            ("_a/*.log", "_a/b.log"),
            ("**/.x", "a/.x"),
            ("**/**/a", "a"),
            ("**/b/**/a", "x/b/y/z/a"),
            ("_a/**", "_a/b/c"),
            ("**", ""),
        ] {
            assert!(matches(pattern, path), "{pattern} fits {path}");
        }
        for (pattern, path) in [
            ("*.log", "a.log.1"),
            ("*", "a/b"),
            ("a*b*c", "abcb"),
            ("[a-c]1[!0-9]", "b12"),
            ("[a", "[a"),
            ("a", "a/b"),
            ("a/b", "a"),
            ("?", ""),
            ("*", ".a"),
            ("?a", "_a"),
            ("**/a", "_b/a"),
            ("**/**/a", "b/_b/c/a"),
            ("**/b/**/a", "x/y/a"),
            ("a/**", "a/_b"),
            ("[_]a", "_a"),
            ("[é]", "ê"),
            ("{a,b}", "a"),
        ] {
            assert!(!matches(pattern, path), "{pattern} does not fit {path}");
        }
        assert!(is_pattern("a/*.log") && !is_pattern("a/b.log"));
    }

    /// All combinations of what the `**` stand for would be more than could ever be tried.
    #[test]
    fn many_stars_over_deep_folders_take_no_time() {
        let (pattern, path) = ("**/a/".repeat(30) + "nothing", "a/".repeat(60) + "click");
        assert!(!matches(&pattern, &path));
        assert!(matches(&pattern.replace("nothing", "*"), &path));
    }

    proptest! {
        #[test]
        fn any_pattern_is_taken(pattern in "[a\\[\\]!*?/-]{0,12}", path in "[a\\]/-]{0,12}") {
            matches(&pattern, &path);
        }
    }
}
