//! What a supervisor tells the driver of its session: that the agent is ready, once, and that it has ended, once.

use tokio::sync::mpsc;

use super::AgentEvent;

/// The supervisor's end.
#[derive(Clone, Debug)]
pub struct Herald(mpsc::Sender<Box<AgentEvent>>);

/// The driver's end.
#[derive(Debug)]
pub struct News(mpsc::Receiver<Box<AgentEvent>>);

/// The way by which a driver hears of its agent.
pub fn news() -> (Herald, News) {
    // Boxed: a queue has room for many, also while there are none, and there is one for each agent.
    let (herald, news) = mpsc::channel(4);
    (Herald(herald), News(news))
}

impl Herald {
    /// Tells the driver; false if that is gone.
    pub(super) async fn tell(&self, event: AgentEvent) -> bool {
        self.0.send(Box::new(event)).await.is_ok()
    }
}

impl News {
    /// What is told next; `None` once the supervisor is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<AgentEvent> {
        self.0.recv().await.map(|event| *event)
    }
}
