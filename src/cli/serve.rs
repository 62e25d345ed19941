//! `frontdesk serve`: the server.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{Config, Listen, Loaded, LogFormat, Overrides, Sources};
use crate::control::{self, Operator, Reloader};
use crate::http::v1::nodes::NodeView;
use crate::node::Node;
use crate::server::listener::HandedOver;
use crate::service_manager::ServiceManager;
use crate::shim::hardening;
use crate::shutdown::{AtStop, Tasks};
use crate::telemetry::LogLevel;
use crate::{descriptors, server, telemetry};

use super::progress::Progress;
use super::{Configuration, Failure, Outcome, stop, welcome};

#[derive(Clone, Debug, Default, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    configuration: Configuration,
    /// The address and port, or the Unix socket, to listen on [default: 127.0.0.1:5500].
    #[arg(long, value_name = "ADDR:PORT|unix:PATH")]
    listen: Option<Listen>,
    /// The service mapping [default: ./ServiceURLMapping.json, if it exists].
    #[arg(long, value_name = "FILE")]
    service_mapping: Option<PathBuf>,
    /// How a log line looks [default: text].
    #[arg(long, value_name = "text|json")]
    log_format: Option<LogFormat>,
}

impl Serve {
    pub(super) fn run(self) -> Outcome {
        let overrides = Overrides {
            listen: self.listen.clone(),
            service_mapping: self.service_mapping.clone(),
            log_format: self.log_format,
            ..Overrides::default()
        };
        let sources = self.configuration.sources(overrides);
        let loaded = Config::load(&sources).map_err(|error| Failure::Usage(error.to_string()))?;
        let log = &loaded.config.log;
        let level = telemetry::start(log.format, &log.level).map_err(Failure::Usage)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        hardening::close_to_others().context("cannot close this process to others of its user")?;
        if hardening::is_left_open() {
            tracing::warn!(
                "{} is set: other processes of this user can read this server's memory; unset it, unless this is a \
                 server of `frontdesk torture`",
                hardening::RUN_VARIABLE
            );
        }
        descriptors::raise();
        // While there is one thread.
        let handed_over = HandedOver::from_environment().map_err(|error| Failure::Failed(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start the asynchronous runtime")?;
        let served = runtime.block_on(serve(loaded, sources, level, handed_over));
        telemetry::flush();
        served
    }
}

async fn serve(loaded: Loaded, sources: Sources, level: LogLevel, handed_over: Option<HandedOver>) -> Outcome {
    let stop = server::stop_signal().context("cannot watch for signals")?;
    let hangup = signal(SignalKind::hangup()).context("cannot watch for signals")?;
    let manager = ServiceManager::from_environment();
    manager.status("taking up the sessions and agents of an earlier server");
    let is_configured = loaded.origins.is_configured();
    let node = started(loaded.config, handed_over).await?;
    let app = &node.app;
    let reloader = Arc::new(Reloader::new(app.clone(), sources, level));
    let operator = Operator::new(
        app.store.clone(),
        app.clock.clone(),
        node.embedded.clone(),
        Some(app.registry.clone()),
        node.events.clone(),
    )
    .serving(node.app.clone())
    .reloading(reloader.clone());
    control::serve(node.data_dir().paths().root(), operator, node.tasks())
        .context("cannot make the control socket in the data directory")?;
    welcome::greet(&node, is_configured).await?;
    reload_on_hangup(hangup, reloader, manager.clone(), node.tasks());
    manager.ready(&NodeView::of(app).in_words());
    let told = app.clone();
    manager.keep_told(node.tasks(), move || NodeView::of(&told).in_words());
    let (tasks, agents) = (node.tasks().clone(), node.data_dir().paths().agents());
    let cut_off = node
        .serve(async {
            let (cause, at_stop) = tokio::select! {
                stopped = stop => stopped,
                at_stop = tasks.asked_to_stop() => ("frontdesk stop", at_stop),
            };
            tracing::info!(cause, "{}; a signal now stops at once", before_the_end(at_stop));
            manager.stopping();
            hasten_on_second_signal();
            at_stop
        })
        .await;
    if cut_off > 0 {
        tracing::warn!(tasks = cut_off, "stopped with work cut off; the next start settles it");
        return Ok(ExitCode::FAILURE);
    }
    tracing::info!("{}", stop::at_the_end(tasks.leaves_agents(), stop::living_agents(&agents)));
    Ok(ExitCode::SUCCESS)
}

/// Starts the node. If that takes long, because an earlier server has left much, it says so.
async fn started(config: Config, handed_over: Option<HandedOver>) -> anyhow::Result<Node> {
    const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
    const BETWEEN_LINES: u32 = 100;
    const TEXT: &str = "taking up the sessions and agents of an earlier server";
    let progress = std::io::stderr().is_terminal().then(Progress::begin);
    let mut starting = Box::pin(Node::start(config, handed_over));
    let mut looks = 0_u32;
    loop {
        tokio::select! {
            node = &mut starting => return node,
            () = tokio::time::sleep(BETWEEN_LOOKS) => looks += 1,
        }
        match &progress {
            Some(progress) => progress.show(TEXT, None),
            None if looks.is_multiple_of(BETWEEN_LINES) => tracing::info!("{TEXT}"),
            None => {}
        }
    }
}

/// SIGHUP has the configuration read again. A terminal that is closed sends it, too: then whoever started the server is
/// gone, and it stops as if it had been told to, leaving its agents.
fn reload_on_hangup(mut hangup: Signal, reloader: Arc<Reloader>, manager: ServiceManager, tasks: &Tasks) {
    let has_terminal = || std::io::stdin().is_terminal();
    let (had_terminal, watched) = (has_terminal(), tasks.clone());
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = watched.draining() => return,
                _ = hangup.recv() => {}
            }
            if had_terminal && !has_terminal() {
                watched.ask_to_stop(AtStop::LeaveAgents);
                return;
            }
            manager.reloading();
            let reading = reloader.clone();
            let reloaded = tokio::task::spawn_blocking(move || reading.reload_and_log()).await;
            manager.ready(&match reloaded {
                Ok(Ok(reloaded)) => format!("configuration read again: {reloaded}"),
                Ok(Err(_)) | Err(_) => "configuration refused; the log says why".to_owned(),
            });
        }
    });
}

fn before_the_end(at_stop: AtStop) -> &'static str {
    match at_stop {
        AtStop::LeaveAgents => "stopping: finishing open requests and leaving the agents to the next start",
        AtStop::EndAgents => "stopping: finishing open requests and ending agents",
    }
}

/// Whoever asks twice does not want to wait.
#[expect(clippy::disallowed_methods, reason = "it must outlive the drain that waits for all other tasks")]
fn hasten_on_second_signal() {
    if let Ok(again) = server::stop_signal() {
        tokio::spawn(async move {
            let (signal, _) = again.await;
            tracing::warn!(signal, "stopped at once; the next start settles what was open");
            telemetry::flush();
            std::process::exit(1);
        });
    }
}
