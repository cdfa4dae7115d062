//! A container as a list of all shows it: enough to tell whether it is still as it
//! was when it was last looked at. A list costs the engine little, looks at each of
//! many containers do not.

use std::time::Duration;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum as Status};

use super::container::{Container, ContainerId, HIDES, State, is_hidden};

/// The engine tells ages in whole seconds, by a clock of its own.
const MARGIN: Duration = Duration::from_secs(2);
/// Seconds of the greatest age that is told from others.
const HOUR: u64 = 3_600;

/// One container of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Whole id.
    pub id: ContainerId,
    /// Its owner wants it hidden from everybody.
    pub hidden: bool,
    names: Vec<String>,
    state: State,
    /// How long it has been in its state at the least; `None`: the engine's words say
    /// nothing of it.
    age: Option<Duration>,
}

impl Listed {
    pub(crate) fn of(summary: ContainerSummary) -> Option<Self> {
        let names = summary.names.unwrap_or_default().into_iter();
        let labels = summary.labels.unwrap_or_default();
        Some(Self {
            id: ContainerId::parse(&summary.id?)?,
            hidden: is_hidden(labels.get(HIDES).map(String::as_str)),
            names: names
                .map(|name| name.trim_start_matches('/').to_owned())
                .collect(),
            state: summary.state.map_or(State::Unknown, state_of),
            age: summary.status.as_deref().and_then(least_age),
        })
    }

    /// Whether nothing can have happened to it since it was like `known`, so long ago
    /// at the most. A run that ended and began again meanwhile, of which no event
    /// told, is younger than that.
    pub fn is_still(&self, known: &Container, ago: Duration) -> bool {
        let ages = match self.state {
            State::Running | State::Paused | State::Restarting | State::Exited => {
                self.age.is_some_and(|age| age > ago + MARGIN)
            }
            // It leads to others and never back.
            State::Created | State::Removing | State::Dead => true,
            State::Unknown => false,
        };
        ages && self.state == known.state && self.names.contains(&known.name)
    }
}

fn state_of(status: Status) -> State {
    match status {
        Status::CREATED => State::Created,
        Status::RUNNING | Status::STOPPING => State::Running,
        Status::PAUSED => State::Paused,
        Status::RESTARTING => State::Restarting,
        Status::EXITED => State::Exited,
        Status::REMOVING => State::Removing,
        Status::DEAD => State::Dead,
        Status::EMPTY => State::Unknown,
    }
}

/// What words such as `Up 5 minutes (healthy)` or `Exited (0) About an hour ago` say.
/// What is longer than an hour counts as one.
fn least_age(words: &str) -> Option<Duration> {
    let mut count: Option<u64> = None;
    for word in words.split_whitespace() {
        let unit = match word {
            // `Less than a second`.
            "Less" => return Some(Duration::ZERO),
            "second" | "seconds" => 1,
            "minute" | "minutes" => 60,
            "hour" | "hours" | "days" | "weeks" | "months" | "years" => HOUR,
            number => {
                // `About a minute`, `About an hour`.
                let one = matches!(number, "a" | "an").then_some(1);
                count = one.or_else(|| number.parse().ok());
                continue;
            }
        };
        let seconds = count?.saturating_mul(unit).min(HOUR);
        return Some(Duration::from_secs(seconds));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_words_are_an_age_at_the_least() {
        let told = [
            ("Up Less than a second", 0),
            ("Up 1 second", 1),
            ("Up 59 seconds (health: starting)", 59),
            ("Up About a minute (Paused)", 60),
            ("Exited (137) 2 minutes ago", 120),
            ("Restarting (1) 59 minutes ago", 3_540),
            ("Up About an hour", 3_600),
            ("Up 47 hours (healthy)", 3_600),
            ("Exited (0) 3 days ago", 3_600),
            ("Exited (0) 2 weeks ago", 3_600),
            ("Up 11 months", 3_600),
            ("Up 2 years", 3_600),
        ];
        for (words, seconds) in told {
            assert_eq!(
                least_age(words),
                Some(Duration::from_secs(seconds)),
                "{words}"
            );
        }
        let nothing = [
            "",
            "Created",
            "Dead",
            "Removal In Progress",
            "Up",
            "Exited (0)",
            "minutes",
        ];
        for words in nothing {
            assert_eq!(least_age(words), None, "{words}");
        }
    }

    fn listed(name: &str, state: Status, words: &str) -> Listed {
        let summary = ContainerSummary {
            id: Some("a".repeat(64)),
            names: Some(vec!["/other/alias".to_owned(), format!("/{name}")]),
            state: Some(state),
            status: Some(words.to_owned()),
            ..ContainerSummary::default()
        };
        Listed::of(summary).expect("it has an id")
    }

    #[test]
    fn what_may_have_changed_since_it_was_known_is_not_still_the_same() {
        let known = |state| {
            let id = ContainerId::from_bytes([0xaa; 32]);
            let name = "web".to_owned();
            Container {
                name,
                state,
                ..Container::bare(id)
            }
        };
        let ago = Duration::from_secs(30);
        let up = listed("web", Status::RUNNING, "Up 33 seconds");
        assert!(up.is_still(&known(State::Running), ago));
        assert!(!up.is_still(&known(State::Exited), ago));
        // It may have begun since.
        assert!(!up.is_still(&known(State::Running), ago + MARGIN));
        let renamed = listed("wob", Status::RUNNING, "Up 33 seconds");
        assert!(!renamed.is_still(&known(State::Running), ago));
        let ran = listed("web", Status::EXITED, "Exited (0) 29 seconds ago");
        assert!(!ran.is_still(&known(State::Exited), ago));
        let made = listed("web", Status::CREATED, "Created");
        assert!(made.is_still(&known(State::Created), Duration::MAX / 2));
        // An hour is the most that is told apart.
        let old = listed("web", Status::RUNNING, "Up 3 years");
        assert!(old.is_still(
            &known(State::Running),
            Duration::from_secs(HOUR) - 2 * MARGIN
        ));
        assert!(!old.is_still(&known(State::Running), Duration::from_secs(2 * HOUR)));
        let odd = listed("web", Status::RUNNING, "seit gestern");
        assert!(!odd.is_still(&known(State::Running), ago));
    }
}
