//! `frontdesk serve`: the server.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::config::{Loaded, LogFormat, Overrides};
use crate::control::{self, Operator};
use crate::node::Node;
use crate::shutdown::AtStop;
use crate::{descriptors, server, telemetry};

use super::{Configuration, Failure, Outcome, stop, welcome};

#[derive(Clone, Debug, Default, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    configuration: Configuration,
    /// The address and port to listen on [default: 127.0.0.1:5500].
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    listen: Option<std::net::SocketAddr>,
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
            listen: self.listen,
            service_mapping: self.service_mapping.clone(),
            log_format: self.log_format,
            ..Overrides::default()
        };
        let loaded = self.configuration.load(overrides)?;
        let log = &loaded.config.log;
        telemetry::start(log.format, &log.level).map_err(Failure::Usage)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        descriptors::raise();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start the asynchronous runtime")?;
        runtime.block_on(serve(loaded))
    }
}

async fn serve(loaded: Loaded) -> Outcome {
    let stop = server::stop_signal().context("cannot watch for signals")?;
    let node = Node::start(loaded.config).await?;
    let app = &node.app;
    let operator = Operator::new(
        app.store.clone(),
        app.clock.clone(),
        node.embedded.clone(),
        Some(app.registry.clone()),
        node.events.clone(),
    )
    .serving(node.app.clone());
    control::serve(node.data_dir().paths().root(), operator, node.tasks())
        .context("cannot make the control socket in the data directory")?;
    welcome::greet(&node).await?;
    let (tasks, agents) = (node.tasks().clone(), node.data_dir().paths().agents());
    let cut_off = node
        .serve(async {
            let (cause, at_stop) = tokio::select! {
                stopped = stop => stopped,
                at_stop = tasks.asked_to_stop() => ("frontdesk stop", at_stop),
            };
            tracing::info!(cause, "{}; a signal now stops at once", before_the_end(at_stop));
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

fn before_the_end(at_stop: AtStop) -> &'static str {
    match at_stop {
        AtStop::LeaveAgents => "stopping: finishing open requests and leaving the agents to the next start",
        AtStop::EndAgents => "stopping: finishing open requests and ending agents",
    }
}

fn address(text: &str) -> Result<std::net::SocketAddr, &'static str> {
    text.parse().map_err(|_| "write an address and a port such as 127.0.0.1:5500")
}

/// Whoever asks twice does not want to wait.
#[expect(clippy::disallowed_methods, reason = "it must outlive the drain that waits for all other tasks")]
fn hasten_on_second_signal() {
    if let Ok(again) = server::stop_signal() {
        tokio::spawn(async move {
            let (signal, _) = again.await;
            tracing::warn!(signal, "stopped at once; the next start settles what was open");
            std::process::exit(1);
        });
    }
}
