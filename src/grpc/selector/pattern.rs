//! A text that is compared whole, or a glob.

/// `*` stands for any characters, also none, and `?` for one; every other
/// character for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: String,
    is_glob: bool,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            is_glob: is_glob(text),
        }
    }

    /// Whether it stands for this whole text. Takes the length of both, multiplied,
    /// at worst.
    pub(crate) fn matches(&self, text: &str) -> bool {
        match self.is_glob {
            true => glob(&self.text, text),
            false => self.text == text,
        }
    }
}

/// Whether a text would be a glob.
pub(crate) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?'])
}

fn glob(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // Behind the last star, and where it left the text: it can take one more.
    let mut star: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let (before, place) = (pattern.clone(), text.clone());
        match (pattern.next(), text.next()) {
            (Some('*'), _) => {
                text = place.clone();
                star = Some((pattern.clone(), place));
            }
            (None, None) => return true,
            (Some('?'), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => {
                let Some((behind, left)) = &mut star else {
                    return false;
                };
                if left.next().is_none() {
                    return false;
                }
                drop(before);
                (pattern, text) = (behind.clone(), left.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By the definition, one character at a time.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), None) => naive(rest, text),
            (Some(('*', rest)), Some((_, after))) => naive(rest, text) || naive(pattern, after),
            (Some(('?', rest)), Some((_, after))) => naive(rest, after),
            (Some((wanted, rest)), Some((found, after))) => wanted == found && naive(rest, after),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_glob_matches_what_its_definition_says(pattern in "[ab*?é]{0,8}", text in "[abé]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = naive(&chars(&pattern), &chars(&text));
            prop_assert_eq!(Pattern::new(&pattern).matches(&text), expected);
        }
    }

    #[test]
    fn a_glob_is_matched_with_the_whole_text() {
        assert!(Pattern::new("nginx:*").matches("nginx:1.27"));
        assert!(!Pattern::new("nginx").matches("nginx:1.27"));
        assert!(!Pattern::new("web-?").matches("web-10"));
        assert!(Pattern::new("*").matches(""));
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = Pattern::new(&"*a".repeat(10_000));
        assert!(!pattern.matches(&"a".repeat(9_999)));
    }
}
