//! `luo-trace ship`.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use reports::export::otlp::Signal;

use crate::exit::{Exit, Failure};
use crate::ship::{self, After, Endpoint, Only};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Runs that the server refuses, or takes only in part, are moved to DIR/rejected/. Runs that \
                  cannot be sent stay in DIR. Exits with 0 if all were sent, 1 if the server cannot be \
                  reached or does not take OTLP, or another ship uses DIR, 2 on wrong usage, 3 if a run was rejected or a file is no run."
)]
pub(super) struct Options {
    /// Directory of runs to send, oldest first (the --spool of collect or watch)
    #[arg(long, value_name = "DIR")]
    spool: PathBuf,
    /// Address of the server, without TLS: runs are sent to URL/v1/traces and URL/v1/metrics
    #[arg(long, value_name = "URL")]
    otlp_endpoint: String,
    /// Move sent runs to DIR/sent/, instead of deleting them
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    sending: Sending,
}

/// How runs are sent.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sending")]
pub(super) struct Sending {
    /// Send traces or metrics only
    #[arg(long, value_enum, value_name = "SIGNAL", requires = "otlp_endpoint")]
    only: Option<Word>,
    /// Attribute of the host that runs lack, e.g. host.name=web-1; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair, requires = "otlp_endpoint")]
    resource: Vec<(String, String)>,
    /// Times to try a request again while the server is busy or cannot be reached
    #[arg(
        long,
        default_value_t = 5,
        value_name = "N",
        requires = "otlp_endpoint"
    )]
    retries: u32,
    /// Time limit for each try
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = super::duration, requires = "otlp_endpoint")]
    timeout: Duration,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Word {
    Traces,
    Metrics,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or_else(|| format!("'{text}' is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Sending {
    pub(super) fn to(&self, url: &str) -> anyhow::Result<Endpoint> {
        let only = match self.only {
            Some(Word::Traces) => Only::One(Signal::Traces),
            Some(Word::Metrics) => Only::One(Signal::Metrics),
            None => Only::Both,
        };
        let resource = self.resource.clone();
        Endpoint::new(url, only, resource, self.retries, self.timeout)
            .map_err(|error| Failure::bad_input(format!("--otlp-endpoint: {error}")))
    }
}

pub(super) fn run(options: &Options) -> anyhow::Result<Exit> {
    let after = if options.keep {
        After::Keep
    } else {
        After::Delete
    };
    let endpoint = options.sending.to(&options.otlp_endpoint)?;
    ship::send_all(&options.spool, &endpoint, after)
}
