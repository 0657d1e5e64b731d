//! How a stream fares on other networks: the table of paths, bad lines, and a bottleneck that comes
//! and goes. Real Chromium in the viewer's namespace, the real agent in the camera's, coturn and
//! the rendezvous server between them.
//!
//! | module | holds |
//! |---|---|
//! | `watch` | connects, and a stretch of watching: what the rows of the table and of bad lines are made of |
//! | `bottleneck` | the line becomes narrow for 20 s, then free |
//! | `report` | figures with their budgets, as a Markdown table |

mod bottleneck;
pub mod report;
mod watch;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use peercam_protocol::signalling::Transport;
use peercam_testbed::{
    Bed,
    camera::Options,
    network::{
        Impairment, Scene, scene,
        table::{ROWS, Row},
    },
    picture,
    progress::Progress,
};
pub use report::Report;

use crate::network::report::Line;

/// One way, on the lossy lines.
const DELAY: Duration = Duration::from_millis(30);

/// What `--row` may name.
#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    /// A row of the table of paths.
    Path(Row),
    /// A line that is bad all the time, between two cone NATs.
    Line(Impairment),
    /// A line that becomes narrow and wide again.
    Bottleneck,
}

fn all() -> Vec<(&'static str, What)> {
    let lossy = |loss| What::Line(Impairment::lossy(loss).and_delay(DELAY));
    let mut all: Vec<_> = ROWS.iter().map(|row| (row.name, What::Path(*row))).collect();
    all.extend([
        ("loss1", lossy(0.01)),
        ("loss5", lossy(0.05)),
        ("loss10", lossy(0.10)),
        ("delay100", What::Line(Impairment::delayed(Duration::from_millis(100)))),
        ("bottleneck", What::Bottleneck),
    ]);
    all
}

/// The rows of these names; all of them where none is named.
fn chosen(names: &[String]) -> Result<Vec<(&'static str, What)>> {
    let mut rows = all();
    if let Some(unknown) = names.iter().find(|name| !rows.iter().any(|(row, _)| row == name)) {
        let known: Vec<_> = rows.iter().map(|(name, _)| *name).collect();
        bail!("there is no row {unknown:?}: use {}", known.join(", "));
    }
    rows.retain(|(row, _)| names.is_empty() || names.iter().any(|name| name == row));
    Ok(rows)
}

/// Measures these rows (all of them where none is named) over these transports.
pub async fn measure(
    names: &[String],
    transports: &[Transport],
    progress: Progress,
) -> Result<Report> {
    let rows = chosen(names)?;
    let seed = scene::seed();
    let mut lines = Vec::new();
    let mut receiver = String::new();
    for (name, what) in rows {
        // A bed and networks of its own for each row: nothing of one reaches the next.
        let bed = Bed::new(&format!("measure-{name}"))?;
        let picture = picture::busy(&bed, 1280, 720)?;
        let camera = Options { picture: Some(picture), ..Options::full(name.parse()?) };
        let plan = match what {
            What::Path(row) => row.plan,
            What::Line(_) | What::Bottleneck => Row::named("cone").context("no row cone")?.plan,
        };
        progress.say(format!("{name}: networks, servers, camera, browser"));
        let scene = Scene::set(&bed, plan, camera, seed).await?;
        receiver = scene.browser.version()?;
        for &transport in transports {
            let measured = row(&scene, name, what, transport, progress).await;
            let explained = || {
                format!(
                    "row {name}, {transport}; the agent's last lines:\n{}",
                    scene.camera.last_lines()
                )
            };
            lines.push(measured.with_context(explained)?);
        }
        scene.browser.stop().await?;
    }
    Ok(Report { seed, receiver, rows: lines })
}

async fn row(
    scene: &Scene,
    name: &'static str,
    what: What,
    transport: Transport,
    progress: Progress,
) -> Result<Line> {
    match what {
        What::Path(row) => watch::path(scene, row, transport, progress).await,
        What::Line(impairment) => {
            watch::bad_line(scene, name, impairment, transport, progress).await
        }
        What::Bottleneck => bottleneck::measure(scene, name, transport, progress).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_chosen_by_name_and_an_unknown_one_is_refused() {
        assert_eq!(chosen(&[]).unwrap().len(), ROWS.len() + 5);
        let names = ["loss5".to_owned(), "lan".to_owned()];
        let rows: Vec<_> = chosen(&names).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(rows, ["lan", "loss5"]);
        let error = chosen(&["loss7".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("loss7") && error.contains("bottleneck"), "{error}");
    }
}
