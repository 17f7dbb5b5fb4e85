//! A real identity provider: `oidc-provider` in node, on a free loopback port, whose keys a test exchanges.

use super::client::Client;
use super::nginx::free_port;
use super::process::Process;
use super::{Folder, wait_until};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

/// A running provider, ended when dropped.
pub(crate) struct Provider {
    address: SocketAddr,
    _process: Process,
    _folder: Folder,
}

const SCRIPT: &str = include_str!("oidc.mjs");

impl Provider {
    /// Starts it and waits until it listens.
    #[track_caller]
    pub(crate) fn start() -> Provider {
        Provider::start_at(free_port())
    }

    /// The same on a port that is known already.
    #[track_caller]
    pub(crate) fn start_at(port: u16) -> Provider {
        Provider::start_with(port, &[])
    }

    /// `pair`: files of a key and a certificate, for TLS.
    #[track_caller]
    pub(crate) fn start_with(port: u16, pair: &[&str]) -> Provider {
        let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/oidc");
        assert!(
            modules.join("node_modules/oidc-provider").exists(),
            "oidc-provider is missing; tests/run installs it"
        );
        let folder = Folder::new();
        let script = folder.path().join("oidc.mjs");
        std::fs::write(&script, SCRIPT).expect("write the script");
        let (modules, script, number) =
            (modules.display().to_string(), script.display().to_string(), port.to_string());
        let mut arguments = vec![script.as_str(), &modules, &number];
        arguments.extend(pair);
        let process = Process::start("node", &arguments);
        process.wait_for_line("the provider listens", |line| (line == "listening").then_some(()));
        Provider {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            _process: process,
            _folder: folder,
        }
    }

    /// `iss` of its tokens, without TLS.
    pub(crate) fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `POST` to `/control/WHAT`.
    #[track_caller]
    pub(crate) fn control(&self, what: &str) {
        let request = format!("POST /control/{what} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let answer = Client::connect(self.address).send(request).response("POST");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// How often the set of keys was fetched.
    #[track_caller]
    pub(crate) fn fetches(&self) -> u64 {
        let answer = Client::connect(self.address)
            .send("GET /control/fetches HTTP/1.1\r\nHost: x\r\n\r\n")
            .response("GET");
        answer.text().parse().expect("a number")
    }

    /// An access token for the client `app`: a JWT, or an opaque one for the resource `urn:opaque`.
    #[track_caller]
    pub(crate) fn token(&self, resource: &str) -> String {
        let body = format!("grant_type=client_credentials&scope=orders:read&resource={resource}");
        // `app:suite-secret`.
        let request = format!(
            "POST /token HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic YXBwOnN1aXRlLXNlY3JldA==\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n{}Content-Length: {}\r\n\r\n{body}",
            self.address,
            if resource == "urn:opaque" { "X-First: 1\r\n" } else { "" },
            body.len()
        );
        let answer = Client::connect(self.address).send(request).response("POST");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer: Value = serde_json::from_str(&answer.text()).expect("JSON");
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    /// Waits until the set of keys was fetched more often than `before`.
    #[track_caller]
    pub(crate) fn is_asked_after(&self, before: u64) {
        wait_until("the set of keys is fetched", || self.fetches() > before);
    }
}
