//! Logging drivers: what each makes of a record, and how its files rotate.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::{Value, json};

const LOCAL_MAX_SIZE: u64 = 20 * 1024 * 1024;
const LOCAL_MAX_FILE: usize = 5;
/// `{"log":`, `,"stream":"stdout"`, `,"time":"…"}` and a newline.
const JSON_ENVELOPE: u64 = 67;
/// Two length words, the stream's name, the time and the tags.
const LOCAL_ENVELOPE: u64 = 28;

/// A logging driver with its options, as given to `docker run --log-driver --log-opt`.
#[derive(Clone, Debug)]
pub struct Driver {
    pub(crate) kind: Kind,
    max_size: Option<u64>,
    max_file: Option<usize>,
    compress: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    JsonFile,
    Local,
    Journald,
    /// One that sends lines elsewhere, and keeps them in files as `local` does.
    Cached(&'static str),
    /// Podman's own.
    K8sFile,
    None,
}

impl Driver {
    /// `json-file`: one file that never rotates unless told a size; invalid UTF-8 is replaced in storage.
    #[must_use]
    pub fn json_file() -> Self {
        Self::bare(Kind::JsonFile)
    }

    /// `local`: five compressed files of 20 MiB unless told otherwise; bytes are kept.
    #[must_use]
    pub fn local() -> Self {
        Self::bare(Kind::Local)
    }

    /// `journald`: never rotates here; every part has a stamp of its own, in microseconds.
    #[must_use]
    pub fn journald() -> Self {
        Self::bare(Kind::Journald)
    }

    /// A driver that cannot be read back, such as `syslog`, with the engine's own copy: files as those of `local`.
    #[must_use]
    pub fn cached(name: &'static str) -> Self {
        Self::bare(Kind::Cached(name))
    }

    /// Podman's `k8s-file`: what a process writes at once is stored at once, under one stamp, whether its last line has
    /// ended or not; a `tail` counts lines. One file, which is emptied when it is full.
    #[must_use]
    pub fn k8s_file() -> Self {
        Self::bare(Kind::K8sFile)
    }

    /// `none`: stores nothing, and reading is refused with 501.
    #[must_use]
    pub fn none() -> Self {
        Self::bare(Kind::None)
    }

    /// A file that has reached so many bytes on disk is rotated before the next record.
    #[must_use]
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = Some(bytes);
        self
    }

    /// Keeps so many files, the current one included.
    #[must_use]
    pub fn max_file(mut self, files: usize) -> Self {
        self.max_file = Some(files);
        self
    }

    /// Compresses rotated files, as `local` does by default.
    #[must_use]
    pub fn compressed(mut self) -> Self {
        self.compress = Some(true);
        self
    }

    /// Leaves rotated files as they are, as `json-file` does by default.
    #[must_use]
    pub fn uncompressed(mut self) -> Self {
        self.compress = Some(false);
        self
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            Kind::JsonFile => "json-file",
            Kind::Local => "local",
            Kind::Journald => "journald",
            Kind::Cached(name) => name,
            Kind::K8sFile => "k8s-file",
            Kind::None => "none",
        }
    }

    /// Whether it stores as `local` does.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.kind, Kind::Local | Kind::Cached(_))
    }

    /// `HostConfig.LogConfig`: options that were not given are absent, also where the driver has defaults.
    pub(crate) fn config(&self) -> Value {
        let mut options = serde_json::Map::new();
        let given = [
            ("max-size", self.max_size.map(|bytes| bytes.to_string())),
            ("max-file", self.max_file.map(|files| files.to_string())),
            (
                "compress",
                self.compress.map(|compress| compress.to_string()),
            ),
        ];
        for (option, value) in given {
            let option = match self.kind {
                Kind::Cached(_) => format!("cache-{option}"),
                _ => option.to_owned(),
            };
            options.extend(value.map(|value| (option, Value::String(value))));
        }
        json!({ "Type": self.name(), "Config": options })
    }

    pub(crate) fn rotates_at(&self) -> Option<u64> {
        self.max_size.or(self.is_local().then_some(LOCAL_MAX_SIZE))
    }

    pub(crate) fn keeps_files(&self) -> usize {
        let default = if self.is_local() { LOCAL_MAX_FILE } else { 1 };
        self.max_file.unwrap_or(default).max(1)
    }

    pub(crate) fn compresses(&self) -> bool {
        self.compress.unwrap_or(self.is_local())
    }

    /// The bytes as a later read will return them.
    pub(crate) fn stored(&self, bytes: Bytes) -> Bytes {
        match self.kind {
            Kind::JsonFile => match replace_invalid(&bytes) {
                Cow::Borrowed(_) => bytes,
                Cow::Owned(text) => text.into(),
            },
            _ => bytes,
        }
    }

    /// What a record takes on disk.
    pub(crate) fn size_on_disk(&self, bytes: &[u8]) -> u64 {
        match self.kind {
            Kind::JsonFile => {
                let quoted = Value::from(String::from_utf8_lossy(bytes)).to_string();
                JSON_ENVELOPE + quoted.len() as u64
            }
            _ => LOCAL_ENVELOPE + bytes.len() as u64,
        }
    }

    fn bare(kind: Kind) -> Self {
        Self {
            kind,
            max_size: None,
            max_file: None,
            compress: None,
        }
    }
}

/// One U+FFFD for every byte that is not part of a valid sequence: Go's rule, which is not Rust's.
fn replace_invalid(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_file_replaces_every_invalid_byte_and_local_keeps_it() {
        let bytes = Bytes::from_static(b"a\xff\xe2\x82b");
        assert_eq!(
            Driver::json_file().stored(bytes.clone()),
            "a\u{fffd}\u{fffd}\u{fffd}b"
        );
        assert_eq!(Driver::local().stored(bytes.clone()), bytes);
    }

    #[test]
    fn a_json_record_has_the_size_of_its_line_on_disk() {
        let line = r#"{"log":"a\"b\n","stream":"stdout","time":"2026-01-01T00:00:00.000000000Z"}"#;
        assert_eq!(
            Driver::json_file().size_on_disk(b"a\"b\n"),
            line.len() as u64 + 1
        );
    }

    #[test]
    fn only_given_options_are_told() {
        assert_eq!(
            Driver::local().config(),
            json!({ "Type": "local", "Config": {} })
        );
        let driver = Driver::json_file().max_size(1_000).max_file(3);
        assert_eq!(
            driver.config()["Config"],
            json!({ "max-size": "1000", "max-file": "3" })
        );
    }
}
