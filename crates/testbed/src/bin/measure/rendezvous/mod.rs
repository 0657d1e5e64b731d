//! What the rendezvous server costs: memory and processor time of idle cameras, how many come in in
//! a second, and how many messages of 2 KB it passes on, how late. The server has one processor to
//! itself; who talks to it runs on the others, in processes of their own.
//!
//! | module | holds |
//! |---|---|
//! | `server` | the server that is measured, on its processor |
//! | `client` | a camera's and a viewer's connection, up to the point from which on it is measured |
//! | `cameras` | a process full of cameras that do nothing |
//! | `relay` | the process whose cameras talk and whose viewers listen |
//! | `frames` | WebSocket frames (RFC 6455), counted as cheaply as can be |

pub mod cameras;
mod client;
mod frames;
pub mod relay;
mod server;

use std::{fs, net::SocketAddr, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result};
use clap::Args;
use nix::{
    sched::sched_getaffinity,
    sys::resource::{Resource, getrlimit},
    unistd::Pid,
};
use peercam_testbed::{Bed, Process, progress::Progress};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use self::server::Server;
use crate::{
    network::report::{Budget, Figure},
    usage,
};

/// What is asked for.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Cameras that are connected and idle
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    cameras: u32,

    /// Seconds that the idle server is watched, and each relay
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,

    /// The server's program [default: the one built with this one]
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
}

impl Options {
    /// Whether the program of this workspace is measured.
    pub fn builds(&self) -> bool {
        self.server.is_none()
    }
}

/// Memory of the server for each idle camera, in bytes.
const BUDGET_MEMORY: f64 = 6000.0;
/// Messages a second, at least.
const BUDGET_RATE: f64 = 80_000.0;
/// At the rate below, 99 of 100 messages arrive within so many microseconds.
const BUDGET_LATENCY: f64 = 600.0;
const RATE_OF_LATENCY: u32 = 10_000;

/// Rooms with a camera that talks and a viewer.
const ROOMS: u32 = 16;

/// Cameras that one loopback address connects from: it has fewer than 28 000 ports for that.
const CAMERAS_PER_ADDRESS: u32 = 10_000;

/// Files that a process of cameras needs besides its connections.
const SPARE_FILES: u64 = 64;

/// After the last camera came, before memory is looked at.
const SETTLING: Duration = Duration::from_secs(2);

/// For each 1000 cameras to come in, on a busy machine and in a debug build.
const COMES_WITHIN: Duration = Duration::from_secs(60);

/// All that one call measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Which program was measured.
    server: String,
    /// In the order they were measured.
    rows: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    row: String,
    figures: Vec<Figure>,
}

impl Report {
    /// For people, and for Markdown.
    pub fn table(&self) -> String {
        let mut text = format!("server: {}\n\n| | figures (budget) |\n|---|---|\n", self.server);
        for Line { row, figures } in &self.rows {
            let figures: Vec<_> = figures.iter().map(Figure::show).collect();
            text += &format!("| {row} | {} |\n", figures.join(", "));
        }
        text
    }
}

/// What the process of `cameras` says when all are connected.
#[derive(Debug, Serialize, Deserialize)]
struct Arrival {
    /// From the first knock to the last camera that hosts its room.
    seconds: f64,
}

/// What the process of `relay` says at its end.
#[derive(Debug, Serialize, Deserialize)]
struct Relayed {
    messages: u64,
    seconds: f64,
    p50_us: f64,
    p99_us: f64,
    /// Per cent of one core that the servers used together.
    processor: f64,
}

/// Where a process runs.
#[derive(Debug, Clone, PartialEq)]
struct Processors(Vec<usize>);

impl Processors {
    /// One for the server, and the others, or the same one, for who talks to it.
    fn share() -> Result<(Self, Self)> {
        let ours = sched_getaffinity(Pid::from_raw(0)).context("asking for our processors")?;
        let count = nix::sched::CpuSet::count();
        let all: Vec<_> = (0..count).filter(|&n| ours.is_set(n).unwrap_or(false)).collect();
        let (first, others) = all.split_first().context("no processor is ours")?;
        let others = if others.is_empty() { vec![*first] } else { others.to_vec() };
        Ok((Self(vec![*first]), Self(others)))
    }

    /// Starts a program there: a thread it starts at once is there too.
    fn command(&self, program: PathBuf) -> Command {
        let list: Vec<_> = self.0.iter().map(usize::to_string).collect();
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &list.join(",")]).arg(program);
        command
    }
}

pub async fn measure(options: &Options, progress: Progress) -> Result<Report> {
    let bed = Bed::new("measure-rendezvous")?;
    let (server, clients) = Processors::share()?;
    let bench = Bench { bed: &bed, options, server, clients, progress };
    let mut rows = bench.idle().await?;
    rows.extend(bench.one_server().await?);
    let server = format!(
        "{}, on processor {}{}",
        bench.program()?.display(),
        bench.server.0[0],
        if bench.server == bench.clients { ", which it shares with its clients" } else { "" }
    );
    Ok(Report { server, rows })
}

struct Bench<'a> {
    bed: &'a Bed,
    options: &'a Options,
    server: Processors,
    clients: Processors,
    progress: Progress,
}

impl Bench<'_> {
    fn program(&self) -> Result<PathBuf> {
        match &self.options.server {
            Some(program) => Ok(program.clone()),
            None => Ok(peercam_testbed::programs::workspace("peercam-rendezvous")?),
        }
    }

    /// Cameras that come, and then do nothing.
    async fn idle(&self) -> Result<Vec<Line>> {
        let cameras = self.options.cameras;
        let server = Server::start(self, "idle", cameras).await?;
        let (memory, time) = (usage::memory(server.pid())?, usage::processor_time(server.pid())?);
        let kernel = kernel_memory();
        self.progress.say(format!("{cameras} cameras come in"));

        let (mut processes, mut seconds, mut here) = (Vec::new(), 0.0, 0);
        while here < cameras {
            let some = (cameras - here).min(cameras_per_process()?);
            let source = format!("127.0.0.{}", 2 + processes.len());
            let arguments = [
                "rendezvous-cameras".to_owned(),
                format!("--server={}", server.address()),
                format!("--source={source}"),
                format!("--first={here}"),
                format!("--cameras={some}"),
            ];
            let patience = COMES_WITHIN * (1 + some / 1000);
            let mut process = self.client("cameras", &arguments)?;
            let arrival: Arrival = answer(&mut process, patience).await?;
            seconds += arrival.seconds;
            here += some;
            processes.push(process);
        }
        let accepting = usage::processor_time(server.pid())?.saturating_sub(time).as_secs_f64();

        tokio::time::sleep(SETTLING).await;
        self.progress.say(format!("{cameras} cameras do nothing"));
        let each = |bytes: u64| bytes as f64 / f64::from(cameras);
        let used = each(usage::memory(server.pid())?.saturating_sub(memory));
        // The other end of each connection is on this machine too.
        let kernel =
            kernel_memory().zip(kernel).map(|(now, before)| each(now.saturating_sub(before)) / 2.0);

        let watched = Duration::from_secs(self.options.seconds.into());
        let before = usage::processor_time(server.pid())?;
        tokio::time::sleep(watched).await;
        let idle = usage::processor_time(server.pid())?.saturating_sub(before);
        for process in &mut processes {
            process.check().context("the cameras did not stay")?;
        }

        let per_second = |seconds: f64| (seconds > 0.0).then(|| f64::from(cameras) / seconds);
        Ok(vec![
            Line {
                row: format!("memory for each of {cameras} idle cameras"),
                figures: vec![
                    Figure::free("resident", Some(used), "bytes")
                        .within(Some(Budget::AtMost(BUDGET_MEMORY))),
                    Figure::free("kernel's", kernel, "bytes"),
                ],
            },
            Line {
                row: format!("{cameras} idle cameras, pings included"),
                figures: vec![Figure::free(
                    "processor",
                    Some(idle.as_secs_f64() / watched.as_secs_f64() * 100.0),
                    "% of one core",
                )],
            },
            Line {
                row: "cameras that come: TCP, WebSocket, challenge, proof, hosting".to_owned(),
                figures: vec![
                    Figure::free("came", per_second(seconds), "a second"),
                    Figure::free("processor", Some(accepting / seconds * 100.0), "% of one core"),
                    Figure::free("with all of it", per_second(accepting), "a second"),
                ],
            },
        ])
    }

    /// Cameras and viewers of one server.
    async fn one_server(&self) -> Result<Vec<Line>> {
        let server = Server::start(self, "relay", ROOMS).await?;
        let way = (server.address(), server.address());
        self.relays("one server", &[way], &[server.pid()]).await
    }

    /// Messages on these ways: from the server of a camera to the server of its viewer.
    async fn relays(
        &self,
        what: &str,
        ways: &[(SocketAddr, SocketAddr)],
        pids: &[u32],
    ) -> Result<Vec<Line>> {
        self.progress.say(format!("{what}: as many messages as it takes"));
        let most = self.relay(ways, pids, 0).await?;
        self.progress.say(format!("{what}: {RATE_OF_LATENCY} messages a second"));
        let steady = self.relay(ways, pids, RATE_OF_LATENCY).await?;
        let alone = pids.len() == 1;
        let budget = |budget| alone.then_some(budget);
        let unit = if alone { "% of one core" } else { "% of one core, all servers" };
        let size = relay::MESSAGE;
        Ok(vec![
            Line {
                row: format!("{what}: messages of {size} bytes in {ROOMS} rooms, at most"),
                figures: vec![
                    Figure::free("messages", Some(most.rate()), "a second")
                        .within(budget(Budget::AtLeast(BUDGET_RATE))),
                    Figure::free("processor", Some(most.processor), unit),
                ],
            },
            Line {
                row: format!("{what}: {RATE_OF_LATENCY} of them a second"),
                figures: vec![
                    Figure::free("messages", Some(steady.rate()), "a second"),
                    Figure::free("p50", Some(steady.p50_us), "µs"),
                    Figure::free("p99", Some(steady.p99_us), "µs")
                        .within(budget(Budget::AtMost(BUDGET_LATENCY))),
                    Figure::free("processor", Some(steady.processor), unit),
                ],
            },
        ])
    }

    async fn relay(
        &self,
        ways: &[(SocketAddr, SocketAddr)],
        pids: &[u32],
        rate: u32,
    ) -> Result<Relayed> {
        let mut arguments = vec![
            "rendezvous-relay".to_owned(),
            format!("--rooms={ROOMS}"),
            format!("--rate={rate}"),
            format!("--seconds={}", self.options.seconds),
        ];
        arguments.extend(ways.iter().map(|(camera, viewer)| format!("--way={camera},{viewer}")));
        arguments.extend(pids.iter().map(|pid| format!("--pid={pid}")));
        let patience = Duration::from_secs(u64::from(self.options.seconds)) + COMES_WITHIN;
        answer(&mut self.client("relay", &arguments)?, patience).await
    }

    /// This program once more, where the server is not.
    fn client(&self, name: &str, arguments: &[String]) -> Result<Process> {
        let mut command = self.clients.command(std::env::current_exe()?);
        command.args(arguments);
        // One each: what it says is looked for in its log.
        let log = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .suffix(".log")
            .tempfile_in(self.bed.path())?
            .into_temp_path()
            .keep()?;
        Ok(Process::spawn(name, command, &log)?)
    }
}

impl Relayed {
    fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }
}

/// The line of JSON by which one of our processes says what it saw.
async fn answer<T: DeserializeOwned>(process: &mut Process, patience: Duration) -> Result<T> {
    let answer = process
        .wait_for_output("its figures", 0, patience, |output| {
            output.lines().find_map(|line| serde_json::from_str(line).ok())
        })
        .await?;
    Ok(answer)
}

/// As many as its files and one source address allow.
fn cameras_per_process() -> Result<u32> {
    let (_, files) =
        getrlimit(Resource::RLIMIT_NOFILE).context("asking how many files we may open")?;
    let files = u32::try_from(files.saturating_sub(SPARE_FILES)).unwrap_or(u32::MAX);
    Ok(files.clamp(1, CAMERAS_PER_ADDRESS))
}

/// What the kernel keeps for all sockets of this machine, in bytes: objects (proc(5) `meminfo`), and
/// what waits in TCP's buffers (`net/sockstat`).
fn kernel_memory() -> Option<u64> {
    let number = |file: &str, line: &str, name: &str| -> Option<u64> {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find_map(|text| text.strip_prefix(line))?;
        let mut words = line.split_whitespace();
        words.find(|word| name.is_empty() || *word == name);
        let mut words = if name.is_empty() { line.split_whitespace() } else { words };
        words.next()?.parse().ok()
    };
    let page = number("/proc/self/smaps", "KernelPageSize:", "")? * 1024;
    let objects = number("/proc/meminfo", "Slab:", "")? * 1024;
    Some(objects + number("/proc/net/sockstat", "TCP:", "mem")? * page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_and_clients_share_what_processors_there_are() {
        let (server, clients) = Processors::share().unwrap();
        assert_eq!(server.0.len(), 1);
        assert!(!clients.0.is_empty());
        assert!(clients == server || !clients.0.contains(&server.0[0]));
    }

    #[test]
    fn the_kernel_uses_some_memory() {
        assert!(kernel_memory().unwrap() > 1_000_000);
    }
}
