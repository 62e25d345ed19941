//! The guides for proxies in docs/OPERATING.md: the very text runs in the real programs, in front of a real server.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::harness::{ADA, Server, Setup, repository, try_send, until};

const NAME: &str = "desk.example.org";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Where the client comes from, as the proxy sees it.
const CLIENT: &str = "127.0.0.5";

/// A proxy in front of a server; both end with this value.
struct Front {
    server: Server,
    proxy: Child,
    port: u16,
    directory: TempDir,
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}

/// The first block of a language below a heading of the guide.
fn guide(heading: &str, language: &str) -> String {
    let page = fs::read_to_string(repository().join("docs/OPERATING.md")).unwrap();
    let (_, section) = page.split_once(&format!("\n### {heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let (_, block) = section.split_once(&format!("\n```{language}\n")).unwrap();
    block.split_once("\n```").unwrap().0.to_owned()
}

/// The guide with the places that a test has.
fn adapted(text: String, replaced: &[(&str, String)]) -> String {
    replaced.iter().fold(text, |text, (old, new)| {
        assert!(text.contains(old), "the guide has no {old}");
        text.replace(old, new)
    })
}

fn certificate(directory: &Path) -> (PathBuf, PathBuf, PathBuf) {
    let pair = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let paths = ["certificate.pem", "key.pem", "both.pem"].map(|name| directory.join(name));
    let texts = [pair.cert.pem(), pair.signing_key.serialize_pem()];
    fs::write(&paths[0], &texts[0]).unwrap();
    fs::write(&paths[1], &texts[1]).unwrap();
    fs::write(&paths[2], texts.concat()).unwrap();
    paths.into()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn on_unix_socket() -> Server {
    let config = guide("Behind nginx", "toml").replace("/run/frontdesk.sock", "frontdesk.sock");
    let listen = Some("unix:frontdesk.sock".to_owned());
    Server::start(Setup { listen, ..Setup::with_config(&config.replace("group =", "#group =")) })
}

fn start(server: Server, directory: TempDir, port: u16, command: &mut Command) -> Front {
    let errors = fs::File::create(directory.path().join("proxy.log")).unwrap();
    let proxy = command.stdin(Stdio::null()).stdout(errors.try_clone().unwrap()).stderr(errors).spawn().unwrap();
    let front = Front { server, proxy, port, directory };
    until("the proxy listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    front
}

impl Front {
    /// Sends a request through the proxy; the status and the body.
    fn curl(&self, arguments: &[&str], path: &str) -> (u16, String) {
        let (port, certificate) = (self.port, self.directory.path().join("certificate.pem"));
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "60", "--no-buffer", "--write-out", "\n%{http_code}"])
            .args(["--interface", CLIENT, "--resolve", &format!("{NAME}:{port}:127.0.0.1"), "--cacert"])
            .arg(certificate)
            .args(arguments)
            .arg(format!("https://{NAME}:{port}{path}"))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        let log = || fs::read_to_string(self.directory.path().join("proxy.log")).unwrap_or_default();
        assert_ne!(status, "000", "{}{}", String::from_utf8_lossy(&output.stderr), log());
        (status.parse().unwrap(), body.to_owned())
    }

    fn post(&self, path: &str, headers: &[&str], body: &str) -> (u16, String) {
        let file = self.directory.path().join("body");
        fs::write(&file, body).unwrap();
        let data = format!("@{}", file.display());
        let headers = headers.iter().flat_map(|header| ["--header", header]);
        let arguments = ["--header", "Content-Type: application/json", "--data-binary", &data];
        self.curl(&arguments.into_iter().chain(headers).collect::<Vec<_>>(), path)
    }

    /// What every guide promises.
    fn holds(&self) {
        self.server.add_customer(ADA);
        let guess = json!({"email": ADA.0, "password": "bad", "persona": "CUSTOMERS"}).to_string();
        let forged = ["X-Forwarded-For: 192.0.2.9", "Forwarded: for=192.0.2.9", "X-Frontdesk-Proxy: forged"];
        assert_eq!(self.post("/v1/sessions", &forged, &guess).0, 401);
        assert_eq!(self.server.await_log("credentials refused")["peer"], CLIENT, "the client's word was believed");

        // Bodies of any size pass.
        let data = "x".repeat(3 << 20);
        let wanted = json!({"email": ADA.0, "password": ADA.1, "persona": "CUSTOMERS", "data": {"text": data}});
        let (status, created) = self.post("/v1/sessions", &[], &wanted.to_string());
        assert_eq!(status, 201, "{created}");
        let created: serde_json::Value = serde_json::from_str(&created).unwrap();
        let id = created["id"].as_str().unwrap();
        let bearer = format!("Authorization: Bearer {}", created["token"].as_str().unwrap());

        // Nobody is this machine.
        assert_eq!(self.post("/initializeSession", &[], &json!({"EMAIL": ADA.0}).to_string()).0, 401);

        // A call that waits gets its answer.
        let wait = format!("/v1/sessions/{id}?wait=2s&until=ENDED");
        assert_eq!(self.curl(&["--header", &bearer], &wait).0, 200);

        self.streams(id, &bearer);
    }

    /// An event passes at once, while the stream goes on.
    fn streams(&self, id: &str, bearer: &str) {
        let port = self.port;
        let mut stream = Command::new("curl")
            .args(["--silent", "--no-buffer", "--max-time", "60", "--resolve", &format!("{NAME}:{port}:127.0.0.1")])
            .arg("--cacert")
            .arg(self.directory.path().join("certificate.pem"))
            .args(["--header", bearer, "--header", "Accept: text/event-stream"])
            .arg(format!("https://{NAME}:{port}/v1/sessions/{id}/events"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stream.stdout.take().unwrap()));
        let mut next = |wanted: &str| lines.by_ref().map_while(Result::ok).find(|line| line.contains(wanted));
        assert!(next("PENDING").is_some(), "the first event did not pass");
        assert_eq!(self.curl(&["--request", "DELETE", "--header", bearer], &format!("/v1/sessions/{id}")).0, 200);
        assert!(next("ENDED").is_some(), "the last event did not pass while the stream was open");
        stream.kill().unwrap();
        stream.wait().unwrap();
    }
}

#[test]
fn the_guide_for_nginx_holds_in_nginx() {
    let (directory, port, server) = (tempfile::tempdir().unwrap(), free_port(), on_unix_socket());
    let (certificate, key, _) = certificate(directory.path());
    let text = adapted(
        guide("Behind nginx", "nginx"),
        &[
            ("/run/frontdesk.sock", server.path("frontdesk.sock").display().to_string()),
            ("listen 443 ssl", format!("listen 127.0.0.1:{port} ssl")),
            ("/etc/ssl/desk.example.org.pem", certificate.display().to_string()),
            ("/etc/ssl/private/desk.example.org.key", key.display().to_string()),
        ],
    );
    let path = directory.path().join("nginx.conf");
    let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|place| format!("{place}_temp_path {};\n", directory.path().join(place).display()))
        .concat();
    let text = format!(
        "daemon off;\nmaster_process off;\npid {}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n\
         {places}{text}\n}}\n",
        directory.path().display()
    );
    fs::write(&path, text).unwrap();
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-p"]).arg(directory.path()).arg("-c").arg(path);
    start(server, directory, port, &mut command).holds();
}

#[test]
fn the_guide_for_caddy_holds_in_caddy() {
    let (directory, port, server) = (tempfile::tempdir().unwrap(), free_port(), on_unix_socket());
    let (certificate, key, _) = certificate(directory.path());
    let text = adapted(
        guide("Behind Caddy", "caddyfile"),
        &[
            ("/run/frontdesk.sock", server.path("frontdesk.sock").display().to_string()),
            (
                "desk.example.org {",
                format!("https://{NAME}:{port} {{\ntls {} {}", certificate.display(), key.display()),
            ),
        ],
    );
    let path = directory.path().join("Caddyfile");
    fs::write(&path, format!("{{\nadmin off\nauto_https disable_redirects\nskip_install_trust\n}}\n{text}\n")).unwrap();
    let mut command = Command::new("caddy");
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(path).env("HOME", directory.path());
    command.env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME");
    start(server, directory, port, &mut command).holds();
}

#[test]
fn the_guide_for_haproxy_holds_in_haproxy_and_who_lacks_the_secret_is_not_believed() {
    let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
    let secret = directory.path().join("secret");
    fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let config =
        adapted(guide("Behind HAProxy", "toml"), &[("/etc/frontdesk/proxy-secret", secret.display().to_string())]);
    let server = Server::start(Setup::with_config(&config));
    let (_, _, both) = certificate(directory.path());
    let text = adapted(
        guide("Behind HAProxy", "haproxy"),
        &[
            ("bind :443", format!("bind 127.0.0.1:{port}")),
            ("/etc/haproxy/desk.example.org.pem", both.display().to_string()),
            ("127.0.0.1:5500", server.address.to_string()),
        ],
    );
    let path = directory.path().join("haproxy.cfg");
    fs::write(&path, format!("{text}\n")).unwrap();
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(path).env("FRONTDESK_PROXY_SECRET", SECRET);
    let front = start(server, directory, port, &mut command);
    front.holds();

    let guess = json!({"email": "eve@example.org", "password": "bad", "persona": "CUSTOMERS"}).to_string();
    let headers = [("Content-Type", "application/json"), ("X-Forwarded-For", "192.0.2.9"), ("X-Frontdesk-Proxy", "x")];
    assert_eq!(try_send(front.server.address, "POST", "/v1/sessions", &headers, guess.as_bytes()).unwrap().status, 401);
    assert_eq!(front.server.await_log("credentials refused")["peer"], "127.0.0.1");
    for line in front.server.log_lines() {
        assert!(!line.to_string().contains(SECRET), "{line}");
    }
}
