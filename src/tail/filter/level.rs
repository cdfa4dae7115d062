//! The level of a line, read out of its text: a guess, and never more.
//!
//! JSON objects by their key, kernel and glog prefixes, level words among the
//! first words of a line, and logfmt.

/// Severity, from low to high.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The finest.
    Trace,
    /// For developers.
    Debug,
    /// Normal operation.
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
    /// The highest: critical, panic and above.
    Fatal,
}

/// A level stands near a line's beginning, if anywhere: in its first words, or
/// within so many bytes of JSON or logfmt.
const WORDS: usize = 8;
const PREFIX: usize = 160;
const FIELDS: usize = 4 * 1024;

/// Keys of JSON and logfmt, in lower case.
const KEYS: [&str; 9] = [
    "level",
    "lvl",
    "severity",
    "log.level",
    "log_level",
    "loglevel",
    "levelname",
    "@level",
    "@l",
];

/// The level of a line; `None` if it shows none.
pub(super) fn detect(line: &[u8]) -> Option<Level> {
    let line = line.trim_ascii_start();
    match line.first()? {
        b'{' => json(&line[1..line.len().min(FIELDS)]),
        b'<' => syslog(line).or_else(|| text(line)),
        _ => glog(line).or_else(|| text(line)),
    }
}

fn text(line: &[u8]) -> Option<Level> {
    prefix(&line[..line.len().min(PREFIX)]).or_else(|| logfmt(&line[..line.len().min(FIELDS)]))
}

fn named(word: &[u8]) -> Option<Level> {
    let mut lower = [0; 16];
    let lower = lower.get_mut(..word.len())?;
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    Some(match &*lower {
        b"trace" | b"trce" | b"trac" | b"trc" | b"verbose" | b"finest" => Level::Trace,
        b"debug" | b"dbug" | b"debu" | b"dbg" | b"fine" => Level::Debug,
        b"info" | b"inf" | b"information" | b"informational" | b"notice" => Level::Info,
        b"warn" | b"warning" | b"wrn" => Level::Warn,
        b"error" | b"erro" | b"eror" | b"err" | b"fail" | b"severe" => Level::Error,
        b"fatal" | b"fata" | b"ftl" | b"critical" | b"crit" | b"panic" | b"pani" | b"alert"
        | b"emerg" | b"emergency" => Level::Fatal,
        _ => return None,
    })
}

/// Severities of syslog, and levels that loggers of Node count in tens.
fn numbered(number: u32) -> Option<Level> {
    Some(match number {
        0..=2 => Level::Fatal,
        3 => Level::Error,
        4 => Level::Warn,
        5 | 6 => Level::Info,
        7 => Level::Debug,
        10..20 => Level::Trace,
        20..30 => Level::Debug,
        30..40 => Level::Info,
        40..50 => Level::Warn,
        50..60 => Level::Error,
        60..70 => Level::Fatal,
        _ => return None,
    })
}

fn number(digits: &[u8]) -> Option<u32> {
    str::from_utf8(digits).ok()?.parse().ok()
}

/// `<6>`: facility and severity, as the kernel and systemd write them.
fn syslog(line: &[u8]) -> Option<Level> {
    let end = line.iter().take(5).position(|byte| *byte == b'>')?;
    let priority = number(&line[1..end]).filter(|priority| *priority < 192)?;
    numbered(priority % 8)
}

/// `E0102 15:04:05`: a letter, month and day.
fn glog(line: &[u8]) -> Option<Level> {
    let (letter, date) = line.get(..6)?.split_first()?;
    let is_date = date[..4].iter().all(u8::is_ascii_digit) && date[4] == b' ';
    match (is_date, letter) {
        (true, b'I') => Some(Level::Info),
        (true, b'W') => Some(Level::Warn),
        (true, b'E') => Some(Level::Error),
        (true, b'F') => Some(Level::Fatal),
        _ => None,
    }
}

/// A level among the first words: in capitals, in brackets or before a colon.
fn prefix(line: &[u8]) -> Option<Level> {
    let words = line
        .split(|byte| byte.is_ascii_whitespace() || *byte == b'|')
        .filter(|word| !word.is_empty());
    words
        .take(WORDS)
        .map(uncoloured)
        // Fields begin here, and their values are words too.
        .take_while(|word| !word.contains(&b'='))
        .find_map(marked)
}

/// A word without the escape sequences around it that colour it.
fn uncoloured(mut word: &[u8]) -> &[u8] {
    while let Some(rest) = word.strip_prefix(b"\x1b[") {
        let Some(end) = rest.iter().position(u8::is_ascii_alphabetic) else {
            return &[];
        };
        word = &rest[end + 1..];
    }
    let end = word.iter().position(|byte| *byte == 0x1b);
    &word[..end.unwrap_or(word.len())]
}

fn marked(word: &[u8]) -> Option<Level> {
    let start = word.iter().position(u8::is_ascii_alphabetic)?;
    let (before, word) = word.split_at(start);
    let end = word.iter().position(|byte| !byte.is_ascii_alphabetic());
    let (word, after) = word.split_at(end.unwrap_or(word.len()));
    let opened = before.iter().all(|byte| b"[(<{*-\"'".contains(byte));
    let closed = after
        .first()
        .is_none_or(|byte| b"])>}*-\"'!:,;".contains(byte));
    let is_capital = word.iter().all(u8::is_ascii_uppercase);
    let is_set_off = after.first().is_some_and(|byte| b"])>}:".contains(byte));
    (opened && closed && (is_capital || is_set_off))
        .then(|| named(word))
        .flatten()
}

/// `level=warn`, anywhere.
fn logfmt(line: &[u8]) -> Option<Level> {
    let mut rest = line;
    while let Some(at) = rest.iter().position(|byte| *byte == b'=') {
        let (before, value) = (&rest[..at], &rest[at + 1..]);
        let start = before.iter().rposition(|byte| b" \t,".contains(byte));
        let key = &before[start.map_or(0, |space| space + 1)..];
        if is_key(key) {
            let value = value.strip_prefix(b"\"").unwrap_or(value);
            let end = value.iter().position(|byte| b" \t,\"".contains(byte));
            return valued(&value[..end.unwrap_or(value.len())]);
        }
        rest = value;
    }
    None
}

fn is_key(key: &[u8]) -> bool {
    KEYS.iter()
        .any(|known| key.eq_ignore_ascii_case(known.as_bytes()))
}

fn valued(value: &[u8]) -> Option<Level> {
    named(value).or_else(|| numbered(number(value)?))
}

/// The value of a level's key in an object; `rest` is what follows its brace.
fn json(mut rest: &[u8]) -> Option<Level> {
    let mut depth = 1;
    // Whether a string at depth 1 would be a key.
    let mut is_key_next = true;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => {
                let end = string_end(rest)?;
                let key = &rest[..end];
                rest = &rest[end + 1..];
                if depth == 1 && is_key_next && is_key(key) {
                    return value(rest);
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b':' if depth == 1 => is_key_next = false,
            b',' if depth == 1 => is_key_next = true,
            _ => {}
        }
    }
    None
}

/// The value behind a key: text or a number.
fn value(rest: &[u8]) -> Option<Level> {
    let value = rest.trim_ascii_start().strip_prefix(b":")?;
    let value = value.trim_ascii_start();
    let (value, end) = match value.strip_prefix(b"\"") {
        Some(text) => (text, string_end(text)?),
        None => (value, value.iter().position(|byte| !byte.is_ascii_digit())?),
    };
    valued(&value[..end])
}

/// Where a JSON string ends whose opening quote was read.
fn string_end(text: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    text.iter().position(|byte| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_found_where_loggers_put_them() {
        let found = [
            (r#"{"time":1,"level":"warn","msg":"x"}"#, Level::Warn),
            (
                r#"{"a":{"level":"debug"},"Severity":"ERROR"}"#,
                Level::Error,
            ),
            (
                r#"{"msg":"\"level\":\"info\"","lvl":"fatal"}"#,
                Level::Fatal,
            ),
            (
                r#"{"a":"level","b":[1,2],"level": 30,"pid":1}"#,
                Level::Info,
            ),
            (r#"{"level":3,"host":"x"}"#, Level::Error),
            (r#"time="now" level=warning msg="ERROR: no""#, Level::Warn),
            (r#"ts=1 lvl="dbg" msg=x"#, Level::Debug),
            ("level=30", Level::Info),
            (
                "2026-01-02 15:04:05,123 [main] INFO  com.shop - ERROR",
                Level::Info,
            ),
            ("2026-01-02T15:04:05Z  WARN shop: late", Level::Warn),
            ("\x1b[2m2026\x1b[0m \x1b[32m INFO\x1b[0m shop", Level::Info),
            ("[2026-01-02T15:04:05Z ERROR shop] x", Level::Error),
            ("[15:04:05 INF] started", Level::Info),
            ("2026/01/02 15:04:05 [crit] 1#1: x", Level::Fatal),
            ("WARNING:root:late", Level::Warn),
            ("fail: Shop.Cart[0]", Level::Error),
            ("  error: no such file", Level::Error),
            ("npm ERR! code 1", Level::Error),
            ("Jan  2 15:04:05 host shop[1]: DEBUG: x", Level::Debug),
            ("shop | TRACE | x", Level::Trace),
            ("E0102 15:04:05.1 1 main.go:1] x", Level::Error),
            ("<4>usb 1-1: reset", Level::Warn),
            ("<30>started", Level::Info),
        ];
        for (line, level) in found {
            assert_eq!(detect(line.as_bytes()), Some(level), "{line}");
        }
    }

    #[test]
    fn words_of_the_message_are_no_levels() {
        let none = [
            "",
            "   ",
            "an error occurred",
            "    at shop.Cart.add(Cart.java:1)",
            "no information about warnings",
            "GET /INFO 200",
            "one two three four five six seven eight ERROR",
            r#"{"msg":"level","text":"error"}"#,
            r#"{"a":{"level":"info"}}"#,
            r#"{"level"#,
            r#"{"level":"#,
            r#"{"level":"loud"}"#,
            "Everything=fine sublevel=error",
            "<999>x",
            "<info",
            "=",
            "\x1b[",
            "E01",
        ];
        for line in none {
            assert_eq!(detect(line.as_bytes()), None, "{line}");
        }
    }
}
