use std::sync::Arc;

use tokio::net::UnixListener;

use super::*;
use crate::clock::{Clock, SystemClock};
use crate::credential::embedded::Embedded;
use crate::data_dir::DataDir;
use crate::events::EventLog;
use crate::store::Store;
use crate::store::sqlite::SqliteStore;

const LIST: Command = Command::ListCustomers { after: None, most: 1 };

fn operator(directory: &Path) -> Operator {
    let data_dir = DataDir::open(&directory.join("data")).unwrap();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(data_dir.paths()).unwrap());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::resume(None));
    let settings = crate::config::Credential { hashing_threads: 1, ..Default::default() };
    let embedded = Embedded::new(Arc::clone(&store), Arc::clone(&clock), &settings).unwrap();
    Operator::new(store, clock, Arc::new(embedded), None, EventLog::open(data_dir.paths(), 1 << 20).unwrap())
}

/// Sends a command to a server that does `serve` with the connection.
async fn sent<F: Future<Output = ()>>(directory: &Path, serve: impl FnOnce(UnixStream) -> F) -> io::Result<Reply> {
    let listener = UnixListener::bind(directory.join(SOCKET)).unwrap();
    let serving = async { serve(listener.accept().await.unwrap().0).await };
    let (reply, ()) = tokio::join!(send(directory, &LIST), serving);
    reply.map(Option::unwrap)
}

#[tokio::test]
async fn a_peer_of_another_user_is_told_whose_commands_are_taken() {
    let directory = tempfile::tempdir().unwrap();
    let operator = operator(directory.path());
    let own = rustix::process::getuid().as_raw();
    let reply = sent(directory.path(), |stream| async { handle(stream, &operator, own + 1).await.unwrap() }).await;
    let Ok(Reply::Refused(why)) = reply else { panic!("{reply:?}") };
    assert!(why.starts_with("only the server's own user may give it commands; run this as that user"), "{why}");
    assert!(why.contains(&format!("'#{}'", own + 1)), "{why}");

    std::fs::remove_file(directory.path().join(SOCKET)).unwrap();
    let reply = sent(directory.path(), |stream| async { handle(stream, &operator, own).await.unwrap() }).await;
    assert!(matches!(reply, Ok(Reply::Customers(_))), "{reply:?}");
}

#[tokio::test]
async fn a_server_that_closes_without_a_whole_reply_is_said_to() {
    for part in [&b""[..], br#"{"reply":"#] {
        let directory = tempfile::tempdir().unwrap();
        let reply = sent(directory.path(), |mut stream| async move {
            let mut line = [0; 256];
            let _ = stream.read(&mut line).await.unwrap();
            stream.write_all(part).await.unwrap();
        });
        let error = reply.await.unwrap_err().to_string();
        assert!(error.starts_with("it closed the connection without a reply"), "{error}");
    }
}

#[tokio::test]
async fn a_reply_of_another_version_is_said_to_be_one() {
    let directory = tempfile::tempdir().unwrap();
    let reply = sent(directory.path(), |mut stream| async move {
        let mut line = [0; 256];
        let _ = stream.read(&mut line).await.unwrap();
        stream.write_all(b"{\"reply\":\"sung\"}\n").await.unwrap();
    });
    let error = reply.await.unwrap_err().to_string();
    assert!(error.starts_with("this version does not know its reply"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_replies_is_not_waited_for_forever() {
    let directory = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(directory.path().join(SOCKET)).unwrap();
    let change = Command::Stop { agents: false };
    let said = async |command| {
        send_within(Duration::from_millis(50), directory.path(), command).await.unwrap_err().to_string()
    };
    assert_eq!(said(&LIST).await, "it took longer than 50ms");
    assert_eq!(said(&change).await, "it took longer than 50ms; the command may have been carried out all the same");
}
