//! Figures of a row, their budgets, and the table of them.

use peercam_protocol::signalling::Transport;
use peercam_testbed::{
    Stats,
    stats::{Path, Protocol},
};
use serde::Serialize;

/// All that one call measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was left to chance came from it.
    pub seed: u64,
    /// Who watched.
    pub receiver: String,
    /// In the order they were measured.
    pub rows: Vec<Line>,
}

/// One row over one transport.
#[derive(Debug, Serialize)]
pub struct Line {
    /// The row's name.
    pub row: &'static str,
    /// What was asked for.
    pub transport: Transport,
    /// What the player used in the end: it leaves `fmp4` where loss makes that hopeless.
    pub used: Option<String>,
    /// How direct the way was.
    pub path: Option<Path>,
    /// What carried it.
    pub path_protocol: Option<Protocol>,
    /// By name, in the order they are shown.
    pub figures: Vec<Figure>,
}

/// A number with its name, its unit and, where there is one, its budget.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// `connect p95`, …
    pub name: &'static str,
    /// None where it could not be measured.
    pub value: Option<f64>,
    /// `ms`, `MB`, …
    pub unit: &'static str,
    /// What it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Budget {
    /// This, or less.
    AtMost(f64),
    /// This, or more.
    AtLeast(f64),
}

impl Figure {
    /// A figure nobody set a budget for.
    pub fn free(name: &'static str, value: Option<f64>, unit: &'static str) -> Self {
        Self { name, value: value.map(round), unit, budget: None }
    }

    /// The same figure with a budget.
    pub fn within(self, budget: Option<Budget>) -> Self {
        Self { budget, ..self }
    }

    fn kept(&self) -> Option<bool> {
        let value = self.value?;
        Some(match self.budget? {
            Budget::AtMost(most) => value <= most,
            Budget::AtLeast(least) => value >= least,
        })
    }

    /// With its budget, and whether it keeps it.
    pub fn show(&self) -> String {
        let value = match self.value {
            Some(value) if self.unit.is_empty() => value.to_string(),
            Some(value) => format!("{value} {}", self.unit),
            None => "unknown".to_owned(),
        };
        let budget = match self.budget {
            Some(Budget::AtMost(most)) => format!(" (≤ {most})"),
            Some(Budget::AtLeast(least)) => format!(" (≥ {least})"),
            None => String::new(),
        };
        let verdict =
            if self.budget.is_some() && self.kept() != Some(true) { " **MISSED**" } else { "" };
        format!("{} {value}{budget}{verdict}", self.name)
    }
}

/// Tenths say all there is to say.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

impl Line {
    /// A line with what the player says of its way.
    pub fn new(
        row: &'static str,
        transport: Transport,
        stats: &Stats,
        figures: Vec<Figure>,
    ) -> Self {
        Self {
            row,
            transport,
            used: stats.transport.clone(),
            path: stats.path,
            path_protocol: stats.path_protocol,
            figures,
        }
    }

    fn way(&self) -> String {
        let path = self.path.map_or("unknown".to_owned(), |path| format!("{path:?}"));
        let protocol =
            self.path_protocol.map_or(String::new(), |protocol| format!(", {protocol:?}"));
        (path + &protocol).to_lowercase()
    }
}

impl Report {
    /// For people, and for Markdown.
    pub fn table(&self) -> String {
        let mut text = format!("receiver: {}, seed: {}\n\n", self.receiver, self.seed);
        text += "| row | transport | path | figures (budget) |\n|---|---|---|---|\n";
        for line in &self.rows {
            let figures: Vec<_> = line.figures.iter().map(Figure::show).collect();
            let asked = line.transport.as_str();
            let transport = match &line.used {
                Some(used) if used != asked => format!("{asked} → {used}"),
                _ => asked.to_owned(),
            };
            text += &format!(
                "| {} | {transport} | {} | {} |\n",
                line.row,
                line.way(),
                figures.join(", ")
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_budget_is_seen_and_so_is_a_figure_that_is_missing() {
        let fps = |value| Figure::free("fps", value, "").within(Some(Budget::AtLeast(28.0)));
        assert!(!fps(Some(28.04)).show().contains("MISSED"));
        assert!(fps(Some(27.9)).show().contains("MISSED"));
        assert!(fps(None).show().contains("MISSED"));
        let freeze = Figure::free("freeze", Some(301.26), "ms").within(Some(Budget::AtMost(300.0)));
        assert_eq!(freeze.show(), "freeze 301.3 ms (≤ 300) **MISSED**");
        assert_eq!(Figure::free("bytes", Some(1.0), "MB").show(), "bytes 1 MB");
    }
}
