//! What the rendezvous server costs: memory and processor time of idle cameras, how many come in in
//! a second, and how many messages of 2 KB it passes on, how late. The server has one processor to
//! itself; who talks to it runs on the others, in processes of their own. And the same of a cluster
//! whose nodes and NATS server share that one processor: cameras are at one node, their viewers at
//! the next, so that each message goes by way of NATS.
//!
//! | module | holds |
//! |---|---|
//! | `server` | the server that is measured, on its processor |
//! | `nats` | the NATS server of a cluster |
//! | `client` | a camera's and a viewer's connection, up to the point from which on it is measured |
//! | `cameras` | a process full of cameras that do nothing |
//! | `relay` | the process whose cameras talk and whose viewers listen |
//! | `frames` | WebSocket frames (RFC 6455), counted as cheaply as can be |

pub mod cameras;
mod client;
mod frames;
mod nats;
pub mod relay;
mod server;

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Args;
use nix::{
    sched::sched_getaffinity,
    sys::resource::{Resource, getrlimit},
    unistd::Pid,
};
use peercam_testbed::{Bed, Process, progress::Progress};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use self::{nats::Nats, server::Server};
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

    /// How many servers: more than one are nodes of a cluster [default: 1, and then 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=9))]
    nodes: Option<u32>,

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
    /// How many servers.
    nodes: u32,
    row: String,
    figures: Vec<Figure>,
}

impl Line {
    fn show(&self) -> String {
        let figures: Vec<_> = self.figures.iter().map(Figure::show).collect();
        let budgets = self.figures.iter().any(|figure| figure.budget.is_some());
        // Nobody has set budgets for a cluster.
        figures.join(", ") + if self.nodes > 1 && !budgets { " (-)" } else { "" }
    }
}

impl Report {
    /// For people, and for Markdown.
    pub fn table(&self) -> String {
        let mut columns: Vec<_> = self.rows.iter().map(|line| line.nodes).collect();
        columns.dedup();
        let mut rows: Vec<&str> = Vec::new();
        for Line { row, .. } in &self.rows {
            if !rows.contains(&row.as_str()) {
                rows.push(row);
            }
        }
        let mut text = format!("server: {}\n\n|", self.server);
        for nodes in &columns {
            text += &format!(" | {} (budget)", title(*nodes));
        }
        text += &format!(" |\n|---{}|\n", "|---".repeat(columns.len()));
        for row in rows {
            text += &format!("| {row}");
            for nodes in &columns {
                let mut lines = self.rows.iter();
                let line = lines.find(|line| line.nodes == *nodes && line.row == row);
                text += &format!(" | {}", line.map_or_else(String::new, Line::show));
            }
            text += " |\n";
        }
        text
    }
}

/// In words.
fn title(nodes: u32) -> String {
    if nodes == 1 { "one server".to_owned() } else { format!("{nodes} nodes and NATS") }
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
    let mut rows = Vec::new();
    for nodes in options.nodes.map_or_else(|| vec![1, 3], |nodes| vec![nodes]) {
        rows.extend(bench.idle(nodes).await?);
        rows.extend(bench.relays(nodes).await?);
    }
    let server = format!(
        "{}, on processor {}{}",
        bench.program()?.display(),
        bench.server.0[0],
        if bench.server == bench.clients { ", which it shares with its clients" } else { "" }
    );
    Ok(Report { server, rows })
}

/// What is measured: one server, or a cluster.
struct Servers {
    nodes: Vec<Server>,
    /// By which they reach each other.
    nats: Option<Nats>,
}

impl Servers {
    /// For so many cameras and viewers at each of them.
    async fn start(bench: &Bench<'_>, what: &str, nodes: u32, peers: u32) -> Result<Self> {
        let nats = match nodes {
            1 => None,
            _ => Some(Nats::start(bench, &format!("{what}-nats")).await?),
        };
        let mut servers = Self { nodes: Vec::new(), nats };
        for number in 1..=nodes {
            let name = format!("{what}-{nodes}-{number}");
            servers.nodes.push(Server::start(bench, &name, peers, servers.nats.as_ref()).await?);
        }
        Ok(servers)
    }

    /// From the server of a camera to that of its viewer: the next one.
    fn ways(&self) -> Vec<(SocketAddr, SocketAddr)> {
        let next = self.nodes.iter().cycle().skip(1);
        self.nodes.iter().zip(next).map(|(one, next)| (one.address(), next.address())).collect()
    }

    /// All processes.
    fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(Server::pid).chain(self.nats.as_ref().map(Nats::pid)).collect()
    }

    fn usage(&self) -> Result<Usage> {
        let pids = self.pids();
        let memory = pids.iter().map(|&pid| usage::memory(pid)).collect::<Result<_>>()?;
        let processor = pids.iter().map(|&pid| usage::processor_time(pid)).sum::<Result<_>>()?;
        Ok(Usage { memory, processor })
    }

    /// What they share the processor for.
    fn unit(&self) -> &'static str {
        if self.nats.is_none() { "% of one core" } else { "% of one core, all of them" }
    }
}

/// What servers use.
struct Usage {
    /// Resident bytes of each: first the cameras' server, last NATS.
    memory: Vec<u64>,
    /// Of all.
    processor: Duration,
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

    /// Cameras that come to one of the servers, and then do nothing.
    async fn idle(&self, nodes: u32) -> Result<Vec<Line>> {
        let cameras = self.options.cameras;
        let servers = Servers::start(self, "idle", nodes, cameras).await?;
        let server = &servers.nodes[0];
        let empty = servers.usage()?;
        let kernel = kernel_memory();
        self.progress.say(format!("{}: {cameras} cameras come in", title(nodes)));

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
        let all_here = Instant::now();
        for other in &servers.nodes[1..] {
            other.knows(cameras, COMES_WITHIN).await?;
        }
        let known = seconds + all_here.elapsed().as_secs_f64();
        let accepting = (servers.usage()?.processor - empty.processor).as_secs_f64();

        tokio::time::sleep(SETTLING).await;
        self.progress.say(format!("{}: {cameras} cameras do nothing", title(nodes)));
        let each = |bytes: u64| bytes as f64 / f64::from(cameras);
        let full = servers.usage()?;
        let growth = full.memory.iter().zip(&empty.memory);
        let growth: Vec<_> = growth.map(|(now, then)| each(now.saturating_sub(*then))).collect();
        // The other end of each connection is on this machine too.
        let kernel =
            kernel_memory().zip(kernel).map(|(now, before)| each(now.saturating_sub(before)) / 2.0);

        let watched = Duration::from_secs(self.options.seconds.into());
        let before = servers.usage()?.processor;
        tokio::time::sleep(watched).await;
        let idle = servers.usage()?.processor - before;
        for process in &mut processes {
            process.check().context("the cameras did not stay")?;
        }

        let budget = (nodes == 1).then_some(Budget::AtMost(BUDGET_MEMORY));
        let mut memory = vec![
            Figure::free("resident", Some(growth[0]), "bytes").within(budget),
            Figure::free("kernel's", kernel, "bytes"),
        ];
        if nodes > 1 {
            let others = &growth[1..growth.len() - 1];
            let others = others.iter().sum::<f64>() / others.len() as f64;
            memory.push(Figure::free("at each other node", Some(others), "bytes"));
            memory.push(Figure::free("of NATS", growth.last().copied(), "bytes"));
        }
        let per_second = |seconds: f64| (seconds > 0.0).then(|| f64::from(cameras) / seconds);
        let share = |used: f64, seconds: f64| {
            Figure::free("processor", Some(used / seconds * 100.0), servers.unit())
        };
        let mut coming = vec![
            Figure::free("came", per_second(seconds), "a second"),
            share(accepting, known),
            Figure::free("with all of it", per_second(accepting), "a second"),
        ];
        if nodes > 1 {
            coming.push(Figure::free("known to all nodes after", Some(known * 1000.0), "ms"));
        }
        Ok(vec![
            Line {
                nodes,
                row: format!("memory for each of {cameras} idle cameras"),
                figures: memory,
            },
            Line {
                nodes,
                row: format!("{cameras} idle cameras, pings included"),
                figures: vec![share(idle.as_secs_f64(), watched.as_secs_f64())],
            },
            Line {
                nodes,
                row: "cameras that come: TCP, WebSocket, challenge, proof, hosting".to_owned(),
                figures: coming,
            },
        ])
    }

    /// Cameras that talk, and viewers: in a cluster at another node than their camera.
    async fn relays(&self, nodes: u32) -> Result<Vec<Line>> {
        let servers = Servers::start(self, "relay", nodes, ROOMS).await?;
        let what = title(nodes);
        self.progress.say(format!("{what}: as many messages as it takes"));
        let most = self.relay(&servers, 0).await?;
        let rate = if nodes == 1 { RATE_OF_LATENCY } else { half(most.rate()) };
        self.progress.say(format!("{what}: {rate} messages a second"));
        let steady = self.relay(&servers, rate).await?;
        let budget = |budget| (nodes == 1).then_some(budget);
        let size = relay::MESSAGE;
        Ok(vec![
            Line {
                nodes,
                row: format!("messages of {size} bytes in {ROOMS} rooms, at most"),
                figures: vec![
                    Figure::free("messages", Some(most.rate()), "a second")
                        .within(budget(Budget::AtLeast(BUDGET_RATE))),
                    Figure::free("processor", Some(most.processor), servers.unit()),
                ],
            },
            Line {
                nodes,
                row: format!("{rate} of them a second"),
                figures: vec![
                    Figure::free("messages", Some(steady.rate()), "a second"),
                    Figure::free("p50", Some(steady.p50_us), "µs"),
                    Figure::free("p99", Some(steady.p99_us), "µs")
                        .within(budget(Budget::AtMost(BUDGET_LATENCY))),
                    Figure::free("processor", Some(steady.processor), servers.unit()),
                ],
            },
        ])
    }

    async fn relay(&self, servers: &Servers, rate: u32) -> Result<Relayed> {
        let mut arguments = vec![
            "rendezvous-relay".to_owned(),
            format!("--rooms={ROOMS}"),
            format!("--rate={rate}"),
            format!("--seconds={}", self.options.seconds),
        ];
        let ways = servers.ways();
        arguments.extend(ways.iter().map(|(camera, viewer)| format!("--way={camera},{viewer}")));
        arguments.extend(servers.pids().iter().map(|pid| format!("--pid={pid}")));
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

/// A rate that a cluster takes without a queue that grows: half of the highest, in hundreds, and no
/// more than one server is asked for.
fn half(most: f64) -> u32 {
    ((most / 200.0) as u32 * 100).clamp(100, RATE_OF_LATENCY)
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
