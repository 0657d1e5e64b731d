//! How long a camera takes to come back, and what the watchdog that brings it back costs: on this
//! machine, where the programs are as quick as they are, and in guests, whose whole device can be
//! reset, and whose processor is emulated.
//!
//! | module | holds |
//! |---|---|
//! | `here` | watchdog, agent and rendezvous server as processes of this machine |
//! | `guest` | a board's image in QEMU |

mod guest;
mod here;

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use clap::Args;
use peercam_protocol::signalling::Transport;
use peercam_testbed::{
    guest::{boards, has_image},
    progress::Progress,
};
use serde::Serialize;

use crate::network::report::{Budget, Figure};

/// What `--place` calls this machine.
const HERE: &str = "here";

/// Budgets in seconds: from the agent's end to pictures in the page; until a hang is noticed; from
/// the end of a boot to pictures in the page.
const PLAYING: f64 = 3.0;
const NOTICED: f64 = 10.0;
const AFTER_BOOT: f64 = 3.0;
/// Budgets of the watchdog itself: MB resident, per cent of one processor, MB of program.
const MEMORY: f64 = 2.0;
const PROCESSOR: f64 = 0.1;
const SIZE: f64 = 1.0;

/// What is measured, and where.
#[derive(Debug, Args)]
pub struct Options {
    /// "here", or a board whose image QEMU boots (may be given several times) [default: here, and
    /// every such board whose image was built]
    #[arg(long = "place", value_name = "NAME")]
    places: Vec<String>,

    /// How often the agent is killed here, over each transport
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    times: u32,

    /// How long the watchdog's processor time is looked at, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// The watchdog's program here [default: the one that was built with this program]. Its budgets
    /// are for the one that cameras have: cargo build --profile firmware-small -p peercam-watchdog
    #[arg(long, value_name = "FILE")]
    watchdog: Option<PathBuf>,
}

/// All that one call measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Who received the stream.
    pub receiver: String,
    /// In the order they were measured.
    pub rows: Vec<Row>,
}

/// A fault, or what the watchdog costs.
#[derive(Debug, Serialize)]
pub struct Row {
    /// `here`, or a board in QEMU.
    pub place: String,
    /// What happened, or what was looked at.
    pub what: String,
    /// By name, in the order they are shown.
    pub figures: Vec<Figure>,
}

impl Report {
    /// For people, and for Markdown.
    pub fn table(&self) -> String {
        let mut text = format!("receiver: {}\n\n", self.receiver);
        text += "| place | what | figures (budget) |\n|---|---|---|\n";
        for Row { place, what, figures } in &self.rows {
            let figures: Vec<_> = figures.iter().map(Figure::show).collect();
            text += &format!("| {place} | {what} | {} |\n", figures.join(", "));
        }
        text
    }
}

/// Measures these places, one after the other.
pub async fn measure(
    options: &Options,
    transports: &[Transport],
    progress: Progress,
) -> Result<Report> {
    let (mut receiver, mut rows) = (String::new(), Vec::new());
    for place in chosen(&options.places, progress)? {
        let (browser, measured) = if place == HERE {
            here::measure(options, transports, progress).await?
        } else {
            guest::measure(&place, options, progress).await?
        };
        receiver = browser;
        let row = |(what, figures)| Row { place: place.clone(), what, figures };
        rows.extend(measured.into_iter().map(row));
    }
    Ok(Report { receiver, rows })
}

/// The places of these names; where none is named, all that can be measured now.
fn chosen(names: &[String], progress: Progress) -> Result<Vec<String>> {
    let boards = boards()?;
    if let Some(unknown) = names.iter().find(|name| *name != HERE && !boards.contains(name)) {
        bail!("--place {unknown}: known are {HERE}, {}", boards.join(", "));
    }
    if !names.is_empty() {
        return Ok(names.to_vec());
    }
    let mut places = vec![HERE.to_owned()];
    for board in boards {
        if has_image(&board)? {
            places.push(board);
        } else {
            progress.say(format!(
                "{board} is left out, it has no image: peercam-firmware build --board {board}"
            ));
        }
    }
    Ok(places)
}

/// What is said of one thing that was measured.
type Measured = (String, Vec<Figure>);

/// A figure in seconds.
fn seconds(name: &'static str, value: Option<f64>, budget: Option<f64>) -> Figure {
    Figure::free(name, value, "s").within(budget.map(Budget::AtMost))
}

/// What the watchdog costs.
struct Costs {
    /// Resident, in bytes.
    memory: f64,
    /// Its program, in bytes.
    size: f64,
    /// Processor time …
    used: Duration,
    /// … in this time.
    time: Duration,
}

/// Which of the costs have a budget.
enum Judged {
    /// How long the processor takes: not of an emulated one.
    Processor,
    /// The program as it is shipped, for the processor that it is shipped for.
    Program,
}

impl Costs {
    fn figures(&self, judged: Judged) -> Measured {
        let share = self.used.as_secs_f64() / self.time.as_secs_f64() * 100.0;
        let (processor, program) = match judged {
            Judged::Processor => (true, false),
            Judged::Program => (false, true),
        };
        let figure = |name, value: f64, unit, budget, judged: bool| {
            // Hundredths: a tenth is the whole of a budget.
            let value = Some((value * 100.0).round() / 100.0);
            let budget = judged.then_some(Budget::AtMost(budget));
            Figure { name, value, unit, budget }
        };
        let figures = vec![
            figure("resident", self.memory / 1e6, "MB", MEMORY, program),
            figure("processor", share, "%", PROCESSOR, processor),
            figure("program", self.size / 1e6, "MB", SIZE, program),
        ];
        ("the watchdog itself".to_owned(), figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_place_is_refused_with_those_that_are_known() {
        let progress = Progress::start();
        let names = ["here".to_owned(), "qemu-armv7".to_owned()];
        assert_eq!(chosen(&names, progress).unwrap(), names);
        let error = chosen(&["there".to_owned()], progress).unwrap_err().to_string();
        assert!(error.contains("--place there") && error.contains("qemu-aarch64"), "{error}");
    }

    #[test]
    fn costs_are_told_in_hundredths_of_their_units() {
        let show = |costs: &Costs, judged| {
            let (_, figures) = costs.figures(judged);
            figures.iter().map(Figure::show).collect::<Vec<_>>()
        };
        let [used, time] = [70, 60_000].map(Duration::from_millis);
        let costs = Costs { memory: 1_234_567.0, size: 1_100_072.0, used, time };
        assert_eq!(
            show(&costs, Judged::Program),
            ["resident 1.23 MB (≤ 2)", "processor 0.12 %", "program 1.1 MB (≤ 1) **MISSED**"]
        );
        assert_eq!(
            show(&costs, Judged::Processor),
            ["resident 1.23 MB", "processor 0.12 % (≤ 0.1) **MISSED**", "program 1.1 MB"]
        );
    }

    #[test]
    fn the_table_is_markdown() {
        let figures =
            vec![seconds("noticed", Some(0.04), None), seconds("playing", None, Some(3.0))];
        let row = Row { place: "here".to_owned(), what: "agent killed".to_owned(), figures };
        let table = Report { receiver: "Chromium".to_owned(), rows: vec![row] }.table();
        assert!(
            table.ends_with(
                "| here | agent killed | noticed 0 s, playing unknown (≤ 3) **MISSED** |\n"
            ),
            "{table}"
        );
    }
}
