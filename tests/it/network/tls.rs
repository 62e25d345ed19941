//! TLS: both versions of HTTP over it, a certificate that changes, and pairs of files that are none.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use frontdesk::principal::Scope;

use super::curl;
use crate::harness::{ADA, Server, Setup, percent, read_answer, until};
use crate::memory::{assert_gone, occurrences};
use crate::operators::make_token;
use crate::wire::Wire;

/// A directory with a certificate for localhost and its key.
struct Pair(TempDir);

impl Pair {
    fn new() -> Self {
        let pair = Self(tempfile::tempdir().unwrap());
        pair.renew();
        pair
    }

    fn certificate(&self) -> PathBuf {
        self.0.path().join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.0.path().join("key.pem")
    }

    /// Puts another pair in the place of this one.
    fn renew(&self) {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let pair = rcgen::generate_simple_self_signed(names).unwrap();
        std::fs::write(self.certificate(), pair.cert.pem()).unwrap();
        std::fs::write(self.key(), pair.signing_key.serialize_pem()).unwrap();
    }

    fn config(&self) -> String {
        format!("[tls]\ncertificate = {:?}\nkey = {:?}\n", self.certificate(), self.key())
    }

    fn start(&self) -> Server {
        Server::start(Setup::with_config(&self.config()))
    }
}

#[test]
fn the_metrics_say_when_the_certificate_ends() {
    let pair = Pair::new();
    let server = pair.start();
    let bearer = format!("Authorization: Bearer {}", make_token(&server, "prometheus", Scope::SessionsRead));
    let certificate = pair.certificate();
    let url = format!("https://localhost:{}/metrics", server.address.port());
    let (_, answer) = curl(&["--cacert", certificate.to_str().unwrap(), "--header", &bearer, &url]);
    let text = String::from_utf8(answer.body).unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("frontdesk_certificate_expiry_seconds "));
    // The certificates of these tests end at the beginning of the year 4096.
    assert_eq!(lines.next().unwrap().parse(), Ok(67_090_118_400.0));
}

#[test]
fn over_tls_no_password_stays_in_memory_once_its_connection_has_closed() {
    let pair = Pair::new();
    let server = pair.start();
    server.add_customer(ADA);
    // Without the right to look there is nothing to see: `wiped_passwords` says so.
    let Some(_) = occurrences(server.pid(), ADA.0) else { return };
    let certificate = pair.certificate();
    let url = format!("https://localhost:{}/requestSessionCreation", server.address.port());
    for (version, password) in [("--http2", "Quagga-nimbus-h2"), ("--http1.1", "Quagga-nimbus-h1")] {
        let body = json!({"EMAIL": ADA.0, "PASSWORD": password, "PERSONA_TYPE": "CUSTOMERS", "DATA": {}}).to_string();
        let tls = ["--cacert", certificate.to_str().unwrap(), version, &url];
        let json = ["--header", "Content-Type: application/json", "--data", &body];
        assert_eq!(curl(&[&tls[..], &json].concat()).1.status, 401);
        assert_gone(server.pid(), "what came over TLS", password);
    }
}

#[test]
fn over_tls_a_client_speaks_the_version_that_it_likes() {
    let pair = Pair::new();
    let server = pair.start();
    server.add_customer(ADA);
    let base = format!("https://localhost:{}", server.address.port());
    let body = json!({"EMAIL": ADA.0, "PASSWORD": ADA.1, "PERSONA_TYPE": "CUSTOMERS", "DATA": {}}).to_string();
    let certificate = pair.certificate();
    for (wanted, spoken, message) in
        [("--http2", "2", "SESSION_CREATION_REQUEST_ACCEPTED"), ("--http1.1", "1.1", "SESSION_ALREADY_RUNNING")]
    {
        let (version, answer) = curl(&[
            wanted,
            "--cacert",
            certificate.to_str().unwrap(),
            "--header",
            "Content-Type: application/json",
            "--data",
            &body,
            &format!("{base}/requestSessionCreation"),
        ]);
        assert_eq!((version.as_str(), answer.message().as_str()), (spoken, message));
    }
    for oldest in ["--tlsv1.2", "--tlsv1.3"] {
        let newest = if oldest == "--tlsv1.2" { "1.2" } else { "1.3" };
        let arguments = [oldest, "--tls-max", newest, "--cacert", certificate.to_str().unwrap()];
        assert_eq!(curl(&[&arguments[..], &[&format!("{base}/livez")]].concat()).1.status, 200, "{oldest}");
    }
}

#[test]
fn every_answer_forbids_to_guess_its_type_and_over_tls_to_come_back_without_it() {
    let pair = Pair::new();
    let (encrypted, plain) = (pair.start(), Server::start(Setup::default()));
    let certificate = pair.certificate();
    let paths = [
        "/livez",
        "/serverRunning",
        "/nothing",
        "/v1/sessions",
        "/v1/nothing",
        "/docs",
        "/",
        "/console",
        "/openapi.json",
    ];
    for path in paths {
        for version in ["--http1.1", "--http2"] {
            let url = format!("https://localhost:{}{path}", encrypted.address.port());
            let (_, answer) = curl(&[version, "--cacert", certificate.to_str().unwrap(), &url]);
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path} {version}");
            assert_eq!(answer.header("strict-transport-security"), "max-age=31536000", "{path} {version}");
        }
        for method in ["GET", "PATCH"] {
            let answer = plain.send(method, path, &[("Connection", "close")], b"");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{method} {path}");
            assert_eq!(answer.header("strict-transport-security"), "", "{method} {path}");
        }
        let (_, malformed) =
            curl(&["--http1.1", "--header", "Host: a b", "--cacert", certificate.to_str().unwrap(), &{
                format!("https://localhost:{}{path}", encrypted.address.port())
            }]);
        assert_eq!(malformed.status, 400, "{path}");
        assert_eq!(malformed.header("strict-transport-security"), "max-age=31536000", "{path}");
    }
}

#[test]
fn over_tls_nobody_is_served_without_a_token_or_in_clear() {
    let pair = Pair::new();
    let server = pair.start();
    let message = percent(&json!({"PERSONA_TYPE": "CUSTOMERS", "EMAIL": ADA.0}).to_string());
    let mut client = Client::connect(server.address, &pair.certificate());
    assert_eq!(client.get(&format!("/sessionSTATUS?message={message}")), 401);

    let mut plain = Wire::open(server.address);
    plain.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = plain.rest();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert_eq!(client.get("/livez"), 200);
}

#[test]
fn a_client_that_has_closed_its_sending_half_gets_its_answer() {
    let pair = Pair::new();
    let server = pair.start();
    let mut client = Client::connect(server.address, &pair.certificate());
    client.0.get_mut().write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    client.0.get_mut().conn.send_close_notify();
    client.0.get_mut().flush().unwrap();
    assert_eq!(read_answer(&mut client.0).unwrap().status, 200);
    assert_eq!(client.0.read_to_end(&mut Vec::new()).unwrap(), 0);
}

#[test]
fn a_new_certificate_is_taken_and_a_broken_one_is_not() {
    let pair = Pair::new();
    let server = pair.start();
    let first = certificate(&pair.certificate());
    let mut old = Client::connect(server.address, &pair.certificate());
    assert_eq!((old.get("/livez"), old.certificate()), (200, first));

    pair.renew();
    server.await_log("certificate in force");
    let second = certificate(&pair.certificate());
    let trusted = pair.0.path().join("second.pem");
    std::fs::copy(pair.certificate(), &trusted).unwrap();
    assert_eq!(Client::connect(server.address, &trusted).certificate(), second);
    assert_eq!(old.get("/livez"), 200, "what is open goes on");

    for (file, content, why) in [
        (pair.certificate(), Some("nothing"), "has no certificate in PEM form"),
        (pair.certificate(), None, "which can't be read"),
    ] {
        match content {
            Some(content) => std::fs::write(&file, content).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let line = server.await_log("certificate not taken; the last good one stays in force");
        assert!(line["error"].as_str().unwrap().contains(why), "{line}");
        assert_eq!(Client::connect(server.address, &trusted).certificate(), second);
    }

    pair.renew();
    server.await_log("certificate in force");
    let third = certificate(&pair.certificate());
    assert_eq!(Client::connect(server.address, &pair.certificate()).certificate(), third);
    assert_eq!(old.get("/livez"), 200);
}

#[test]
fn a_server_without_a_good_pair_does_not_start_and_says_why() {
    let (pair, other) = (Pair::new(), Pair::new());
    let server = Server::start(Setup::default());
    let refused = |certificate: &Path, key: &Path| {
        let config = format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n");
        std::fs::write(server.path("tls.toml"), config).unwrap();
        let (status, _, errors) = server.run(&["serve", "--config", "tls.toml", "--data-dir", "other"], "");
        assert!(!status.success());
        assert_eq!(errors.lines().count(), 1, "{errors}");
        errors
    };
    let (certificate, key) = (pair.certificate(), pair.key());
    for (certificate, key, why) in [
        (&certificate, &other.key(), "is not that of the certificate"),
        (&key, &key, "has no certificate in PEM form"),
        (&certificate, &certificate, "has no private key in PEM form"),
        (&certificate, &pair.0.path().join("none.pem"), "can't be read"),
    ] {
        let errors = refused(certificate, key);
        assert!(errors.contains(why), "{errors}");
    }
}

#[test]
fn a_client_that_never_says_hello_does_not_hold_a_server_that_is_told_to_stop() {
    let pair = Pair::new();
    let mut server = pair.start();
    let mut silent = Wire::open(server.address);
    silent.write(b"\x16\x03\x01");
    until("somebody else is served", || Client::connect(server.address, &pair.certificate()).get("/livez") == 200);
    assert!(server.terminate().success());
    assert_eq!(silent.rest(), b"");
}

/// A client over TLS that trusts one certificate and nothing else.
struct Client(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Client {
    fn connect(address: SocketAddr, trusted: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(trusted)).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(super::LONG)).unwrap();
        connection.complete_io(&mut stream).unwrap();
        Self(BufReader::new(StreamOwned::new(connection, stream)))
    }

    /// The certificate that the server showed.
    fn certificate(&self) -> CertificateDer<'static> {
        self.0.get_ref().conn.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// The status of an answer.
    fn get(&mut self, path: &str) -> u16 {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        read_answer(&mut self.0).unwrap().status
    }
}

fn certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}
