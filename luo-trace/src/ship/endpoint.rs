//! Where telemetry goes, and how often it is tried.

use std::io::Read as _;
use std::time::{Duration, SystemTime};

use reports::export::ExportError;
use reports::export::otlp::Signal;
use reports::model::Run;
use ureq::http::{Response, StatusCode, Uri};
use ureq::{Agent, Body};

/// The wait before a request is tried again; it doubles with each try.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait between two tries, whatever the server asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// What is read of an answer, bytes.
const LONGEST_ANSWER: u64 = 64 << 10;
/// What is told of an answer that is no.
const LONGEST_WORD: usize = 200;

/// Which signals are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    /// Both.
    Both,
    /// One of them.
    One(Signal),
}

/// A server that speaks OTLP over HTTP.
#[derive(Debug)]
pub struct Endpoint {
    /// The address that `v1/traces` and `v1/metrics` are below, without a slash at its end.
    pub url: String,
    /// What is sent.
    pub only: Only,
    /// Attributes of the host that no run has.
    pub resource: Vec<(String, String)>,
    /// How often a request is tried again.
    pub retries: u32,
    agent: Agent,
}

/// Why a run could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The server is not there, too busy, or of another kind; that can be mended.
    #[error("{url}: {why} (tries: {tries}); check the address and the server, and run this again")]
    Unreachable {
        url: String,
        why: String,
        tries: u32,
    },
    /// The server will never take this run.
    #[error("{url} refused the run: {why}")]
    Refused { url: String, why: String },
    /// It is no run any more.
    #[error("{0}")]
    NoRun(String),
    /// There is nothing to send.
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// What became of one request.
enum Answer {
    Taken(Vec<u8>),
    /// To be tried again, at the earliest after this.
    Later(String, Option<Duration>),
    /// Whatever is sent there: it is the wrong address, or takes only what others send.
    Never(String),
    Refused(String),
}

impl Endpoint {
    /// # Errors
    /// The address is none that can be sent to.
    pub fn new(
        url: &str,
        only: Only,
        resource: Vec<(String, String)>,
        retries: u32,
        timeout: Duration,
    ) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(format!(
                    "{url}: luo-trace has no TLS; send to an OpenTelemetry collector on this \
                     host, http://127.0.0.1:4318, and let it send on"
                ));
            }
            _ => {
                return Err(format!(
                    "{url}: not an http:// address; give e.g. http://127.0.0.1:4318"
                ));
            }
        }
        if uri.query().is_some() {
            return Err(format!("{url}: remove the query, from ? on"));
        }
        let agent = Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("luo-trace/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            only,
            resource,
            retries,
            agent: agent.into(),
        })
    }

    /// Sends a run, and returns what the server did not take of it. What it has to say of what it
    /// took is a warning.
    ///
    /// Traces come first: sent twice, they are the same trace, and metrics would count twice.
    pub fn send(&self, run: &Run) -> Result<Vec<String>, SendError> {
        let mut said = Vec::new();
        for signal in [Signal::Traces, Signal::Metrics] {
            if self.only != Only::Both && self.only != Only::One(signal) {
                continue;
            }
            for request in signal.requests(run, &self.resource)? {
                let answer = self.post(signal, &request)?;
                let Some(partial) = signal.partial(&answer) else {
                    continue;
                };
                let (item, why) = (signal.item(), partial.message);
                if partial.rejected == 0 {
                    log::warn!("run {}: taken, but the server says: {why}", run.id);
                } else {
                    let some = format!("{} {item} were rejected: {why}", partial.rejected);
                    said.push(some);
                }
            }
        }
        Ok(said)
    }

    /// Sends a request until it is taken or refused, or patience ends.
    fn post(&self, signal: Signal, request: &[u8]) -> Result<Vec<u8>, SendError> {
        let url = format!("{}/{}", self.url, signal.path());
        let mut wait = FIRST_WAIT;
        let mut tries = 0;
        loop {
            tries += 1;
            let (why, asked) = match self.once(&url, request) {
                Answer::Taken(body) => return Ok(body),
                Answer::Refused(why) => return Err(SendError::Refused { url, why }),
                Answer::Never(why) => return Err(SendError::Unreachable { url, why, tries }),
                Answer::Later(why, asked) => (why, asked),
            };
            if tries > self.retries {
                return Err(SendError::Unreachable { url, why, tries });
            }
            let pause = asked.unwrap_or_else(|| spread(wait)).min(LONGEST_WAIT);
            log::debug!("{url}: {why}; again in {} ms", pause.as_millis());
            std::thread::sleep(pause);
            wait = wait.saturating_mul(2).min(LONGEST_WAIT);
        }
    }

    fn once(&self, url: &str, request: &[u8]) -> Answer {
        let post = self.agent.post(url);
        let post = post.header("Content-Type", "application/x-protobuf");
        match post.send(request) {
            Ok(response) => answer(response),
            Err(error) => Answer::Later(error.to_string(), None),
        }
    }
}

/// What OTLP says of an answer: which status may be tried again, and when.
fn answer(mut response: Response<Body>) -> Answer {
    let status = response.status();
    let after = response.headers().get("Retry-After");
    let after = after.and_then(|after| after.to_str().ok()?.parse().ok());
    let mut body = Vec::new();
    let reader = response.body_mut().as_reader();
    let read = reader.take(LONGEST_ANSWER).read_to_end(&mut body);
    match status {
        // An answer that breaks off is none.
        _ if status.is_success() => match read {
            Ok(_) => Answer::Taken(body),
            Err(error) => Answer::Later(error.to_string(), None),
        },
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            Answer::Later(status.to_string(), after.map(Duration::from_secs))
        }
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNPROCESSABLE_ENTITY => Answer::Refused(said(status, &body)),
        _ => Answer::Never(said(status, &body)),
    }
}

fn said(status: StatusCode, body: &[u8]) -> String {
    let said = format!("{status} {}", word(body));
    said.trim_end().to_owned()
}

/// What can be read of a body that says why.
fn word(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let shown = text.chars().filter(|c| !c.is_control() && *c != '\u{fffd}');
    shown.take(LONGEST_WORD).collect()
}

/// Up to half as long again: a fleet that was updated at once does not ask at once.
fn spread(wait: Duration) -> Duration {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let share = now.subsec_nanos() ^ std::process::id().wrapping_mul(0x9e37_79b9);
    wait + wait / 2 * (share % 1024) / 1024
}
