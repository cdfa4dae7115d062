//! Where the engine is, found as the docker CLI finds it.
//!
//! In order: the given URL, `DOCKER_HOST`, the current docker context
//! (`DOCKER_CONTEXT`, else `currentContext` of `config.json`), the default
//! socket, Podman's sockets. Source: docker/cli `cli/command` and
//! `cli/context/store` (a context's folder is the sha256 of its name).

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::transport::{Connector, TlsSettings};

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
const DEFAULT_TLS_PORT: u16 = 2376;
const DEFAULT_PORT: u16 = 2375;

/// The surroundings that decide where the engine is.
#[derive(Debug, Default, Clone)]
pub struct Surroundings {
    /// `DOCKER_HOST`.
    pub docker_host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub docker_context: Option<String>,
    /// `DOCKER_TLS_VERIFY`: TLS for `tcp://` of `DOCKER_HOST`.
    pub tls_verify: bool,
    /// `DOCKER_CERT_PATH`, else the configuration folder.
    pub cert_path: Option<PathBuf>,
    /// `DOCKER_CONFIG`, else `~/.docker`.
    pub config: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`: where rootless engines have their sockets.
    pub runtime: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let text = |key: &str| env::var(key).ok().filter(|value| !value.is_empty());
        let home = text("HOME").map(|home| Path::new(&home).join(".docker"));
        let config = text("DOCKER_CONFIG").map(PathBuf::from).or(home);
        Self {
            docker_host: text("DOCKER_HOST"),
            docker_context: text("DOCKER_CONTEXT"),
            tls_verify: text("DOCKER_TLS_VERIFY").is_some(),
            cert_path: text("DOCKER_CERT_PATH")
                .map(PathBuf::from)
                .or(config.clone()),
            config,
            runtime: text("XDG_RUNTIME_DIR").map(PathBuf::from),
        }
    }
}

/// Finds the engine; `given` wins over everything around.
///
/// # Errors
/// What was named cannot be used, in words. An engine that is merely away is no
/// error: it may come.
pub fn find(given: Option<&str>, around: &Surroundings) -> Result<Connector, String> {
    if let Some(url) = given.or(around.docker_host.as_deref()) {
        let certificates = around.cert_path.as_deref();
        return of_url(url, certificates.filter(|_| around.tls_verify));
    }
    if let Some(connector) = of_context(around)? {
        return Ok(connector);
    }
    Ok(Connector::Unix(default_socket(around)))
}

fn of_url(url: &str, certificates: Option<&Path>) -> Result<Connector, String> {
    let with_port = |address: &str, port: u16| {
        let address = address.trim_end_matches('/');
        let has_port = address
            .rsplit(':')
            .next()
            .is_some_and(|p| p.parse::<u16>().is_ok());
        match has_port && !address.ends_with(']') {
            true => address.to_owned(),
            false => format!("{address}:{port}"),
        }
    };
    match url.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => Ok(Connector::Unix(path.into())),
        Some(("tcp" | "http" | "https", "")) => Err(format!("{url} names no host")),
        Some(("tcp" | "https", address)) if certificates.is_some() || url.starts_with("https") => {
            let folder =
                certificates.ok_or("https needs DOCKER_CERT_PATH and DOCKER_TLS_VERIFY")?;
            let address = with_port(address, DEFAULT_TLS_PORT);
            let settings = TlsSettings::read(folder, &address)?;
            Ok(Connector::Tls(address, settings))
        }
        Some(("tcp" | "http", address)) => Ok(Connector::Tcp(with_port(address, DEFAULT_PORT))),
        Some((scheme, _)) => Err(format!(
            "{scheme}:// is not supported; use unix:///path or tcp://host:port"
        )),
        None => Err(format!(
            "{url} is no URL; use unix:///path or tcp://host:port"
        )),
    }
}

#[derive(Deserialize)]
struct CliConfig {
    #[serde(rename = "currentContext", default)]
    current_context: String,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Endpoints")]
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    docker: Option<DockerEndpoint>,
}

#[derive(Deserialize)]
struct DockerEndpoint {
    #[serde(rename = "Host", default)]
    host: String,
}

fn of_context(around: &Surroundings) -> Result<Option<Connector>, String> {
    let Some(config) = around.config.as_deref() else {
        return Ok(None);
    };
    let name = around.docker_context.clone().or_else(|| {
        let text = fs::read_to_string(config.join("config.json")).ok()?;
        Some(
            serde_json::from_str::<CliConfig>(&text)
                .ok()?
                .current_context,
        )
    });
    let Some(name) = name.filter(|name| !name.is_empty() && name != "default") else {
        return Ok(None);
    };
    let (folder, meta) = stored_context(config, &name)
        .ok_or_else(|| format!("the docker context {name} is not in {}", config.display()))?;
    let host = meta.endpoints.docker.map(|endpoint| endpoint.host);
    let host = host.ok_or_else(|| format!("the docker context {name} names no engine"))?;
    let tls = config.join("contexts/tls").join(folder).join("docker");
    of_url(&host, tls.is_dir().then_some(&tls)).map(Some)
}

/// A context's folder is a digest of its name; its metadata says the name, so
/// looking at all of them needs no digest.
fn stored_context(config: &Path, name: &str) -> Option<(PathBuf, Meta)> {
    let folders = fs::read_dir(config.join("contexts/meta")).ok()?;
    folders.flatten().find_map(|folder| {
        let text = fs::read_to_string(folder.path().join("meta.json")).ok()?;
        let meta: Meta = serde_json::from_str(&text).ok()?;
        (meta.name == name).then(|| (folder.file_name().into(), meta))
    })
}

fn default_socket(around: &Surroundings) -> PathBuf {
    let mut candidates = vec![PathBuf::from(DEFAULT_SOCKET)];
    if let Some(runtime) = &around.runtime {
        candidates.push(runtime.join("docker.sock"));
        candidates.push(runtime.join("podman/podman.sock"));
    }
    candidates.push("/run/podman/podman.sock".into());
    let present = candidates.iter().find(|path| path.exists());
    present.unwrap_or(&candidates[0]).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(given: Option<&str>, around: &Surroundings) -> String {
        find(given, around).map_or_else(|error| error, |found| found.to_string())
    }

    #[test]
    fn the_flag_wins_over_docker_host_and_that_over_the_context() {
        let folder = tempfile::tempdir().unwrap();
        let meta = folder.path().join("contexts/meta/abc");
        fs::create_dir_all(&meta).unwrap();
        let text = r#"{"Name":"far","Metadata":{},"Endpoints":{"docker":{"Host":"tcp://far"}}}"#;
        fs::write(meta.join("meta.json"), text).unwrap();
        let config = r#"{"auths":{},"currentContext":"far"}"#;
        fs::write(folder.path().join("config.json"), config).unwrap();
        let mut around = Surroundings {
            config: Some(folder.path().into()),
            ..Surroundings::default()
        };
        assert_eq!(named(None, &around), "tcp://far:2375");
        around.docker_context = Some("gone".to_owned());
        assert!(named(None, &around).contains("context gone is not in"));
        around.docker_host = Some("unix:///run/host.sock".to_owned());
        assert_eq!(named(None, &around), "unix:///run/host.sock");
        assert_eq!(named(Some("tcp://[::1]:99"), &around), "tcp://[::1]:99");
    }

    #[test]
    fn urls_that_cannot_be_used_say_what_can() {
        let around = Surroundings::default();
        assert!(named(Some("ssh://root@host"), &around).contains("unix:///path"));
        assert!(named(Some("/var/run/docker.sock"), &around).contains("is no URL"));
        assert!(named(Some("tcp://"), &around).contains("names no host"));
        assert!(named(Some("https://host"), &around).contains("DOCKER_CERT_PATH"));
    }

    #[test]
    fn the_sockets_are_tried_in_order_and_the_default_is_named_if_none_is_there() {
        let runtime = tempfile::tempdir().unwrap();
        let around = Surroundings {
            runtime: Some(runtime.path().into()),
            ..Surroundings::default()
        };
        if Path::new(DEFAULT_SOCKET).exists() {
            assert_eq!(default_socket(&around), Path::new(DEFAULT_SOCKET));
            return;
        }
        assert_eq!(
            default_socket(&Surroundings::default()),
            Path::new(DEFAULT_SOCKET)
        );
        let podman = runtime.path().join("podman/podman.sock");
        fs::create_dir_all(podman.parent().unwrap()).unwrap();
        fs::write(&podman, "").unwrap();
        assert_eq!(default_socket(&around), podman);
    }
}
