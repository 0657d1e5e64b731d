//! Figures, their budgets, and the table of them.

use peercam_protocol::signalling::Transport;
use serde::Serialize;

/// One line of a report.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// How the media travelled.
    pub transport: Transport,
    /// The unit of the figures and of the budget.
    pub unit: &'static str,
    /// The figures, by name, in the order they are shown.
    pub figures: Vec<Figure>,
    /// How many single measurements they come from.
    pub samples: usize,
}

/// A number with its name and, where DESIGN §6 has one, its budget.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// `p50`, `slope`, …
    pub name: &'static str,
    /// The figure.
    pub value: f64,
    /// Most that it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<f64>,
}

impl Figure {
    /// A figure with a budget.
    pub fn of(name: &'static str, value: f64, budget: f64) -> Self {
        Self { name, value: round(value), budget: Some(budget) }
    }

    /// A figure nobody set a budget for.
    pub fn free(name: &'static str, value: f64) -> Self {
        Self { name, value: round(value), budget: None }
    }
}

/// Three digits behind the point say all there is to say.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The value below which `share` of the values lie (nearest rank); none of none.
pub fn percentile(values: &mut [f64], share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied()
}

/// Slope of the straight line through the points (least squares): what each further x costs.
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let above: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let below: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if below == 0.0 { 0.0 } else { above / below }
}

/// The rows for people, each figure with its budget behind it.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    let width = rows.iter().map(|row| row.what.len()).max().unwrap_or_default();
    for row in rows {
        let figures: Vec<_> = row
            .figures
            .iter()
            .map(|Figure { name, value, budget }| match budget {
                Some(budget) => {
                    let verdict = if value <= budget { "within" } else { "OVER" };
                    format!("{name} {value} {} ({verdict} {budget})", row.unit)
                }
                None => format!("{name} {value} {}", row.unit),
            })
            .collect();
        text += &format!(
            "{:4}  {:width$}  {}  [{} samples]\n",
            row.transport.as_str(),
            row.what,
            figures.join("  "),
            row.samples
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let mut values = vec![5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(percentile(&mut values, 0.5), Some(3.0));
        assert_eq!(percentile(&mut values, 0.95), Some(5.0));
        assert_eq!(percentile(&mut values, 0.0), Some(1.0));
        assert_eq!(percentile(&mut [], 0.5), None);
    }

    #[test]
    fn the_slope_of_a_line_is_its_slope() {
        let line: Vec<_> = [1.0, 5.0, 10.0, 20.0].map(|x| (x, 0.25 * x + 3.0)).to_vec();
        assert!((slope(&line) - 0.25).abs() < 1e-9);
        assert_eq!(slope(&[(1.0, 1.0)]), 0.0);
    }

    #[test]
    fn a_figure_over_its_budget_is_shouted() {
        let row = Row {
            what: "latency".to_owned(),
            transport: Transport::Rtp,
            unit: "ms",
            figures: vec![Figure::of("p50", 40.0, 50.0), Figure::of("p95", 90.1234, 80.0)],
            samples: 7,
        };
        let text = table(&[row]);
        assert!(text.contains("p50 40 ms (within 50)"), "{text}");
        assert!(text.contains("p95 90.123 ms (OVER 80)"), "{text}");
    }
}
