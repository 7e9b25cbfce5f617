//! One measured figure, its peer, and what it was meant to be.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

/// One line of the result.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figure {
    /// What was measured.
    name: String,
    /// Our median, in `unit`.
    ours: f64,
    /// The peer's median, in `unit`.
    peer: Option<f64>,
    /// The median of the pairs' ratios, ours to the peer's.
    ratio: Option<f64>,
    /// `ms`, `MiB`, `MB/s`, `/s`, or nothing for a count.
    unit: &'static str,
    /// What was to be reached, as a person reads it.
    goal: Option<String>,
    /// Whether it was reached.
    is_met: Option<bool>,
}

/// What a figure must stay on one side of.
#[derive(Clone, Copy)]
pub(super) enum Goal {
    /// The ratio to the peer, at most.
    RatioBelow(f64),
    /// The ratio to the peer, at least.
    RatioAbove(f64),
}

impl Figure {
    /// A figure from pairs of times.
    pub(super) fn paired(name: &str, pairs: &[(Duration, Duration)], goal: Goal) -> Figure {
        let ours = median(pairs.iter().map(|(ours, _)| milliseconds(*ours)).collect());
        let peer = median(pairs.iter().map(|(_, peer)| milliseconds(*peer)).collect());
        let ratio =
            median(pairs.iter().map(|(ours, peer)| ours.as_secs_f64() / peer.as_secs_f64()).collect());
        Figure::with_ratio(name, (ours, peer), ratio, "ms", goal)
    }

    /// A figure from pairs of throughputs: bytes moved, and how long each side took.
    pub(super) fn throughput(name: &str, bytes: u64, pairs: &[(Duration, Duration)], goal: Goal) -> Figure {
        let speed = |time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
        let ours = median(pairs.iter().map(|(ours, _)| speed(*ours)).collect());
        let peer = median(pairs.iter().map(|(_, peer)| speed(*peer)).collect());
        let ratio = median(pairs.iter().map(|(ours, peer)| speed(*ours) / speed(*peer)).collect());
        Figure::with_ratio(name, (ours, peer), ratio, "MB/s", goal)
    }

    /// A figure from pairs of rates, in events per second.
    pub(super) fn rates(name: &str, pairs: &[(f64, f64)], goal: Goal) -> Figure {
        let ours = median(pairs.iter().map(|(ours, _)| *ours).collect());
        let peer = median(pairs.iter().map(|(_, peer)| *peer).collect());
        let ratio = median(pairs.iter().map(|(ours, peer)| ours / peer).collect());
        Figure::with_ratio(name, (ours, peer), ratio, "/s", goal)
    }

    /// A count that may not be above a bound.
    pub(super) fn count(name: &str, ours: usize, max: usize) -> Figure {
        let goal = Some(format!("<= {max}"));
        let (ours, is_met) = (ours as f64, Some(ours <= max));
        Figure { name: name.to_owned(), ours, peer: None, ratio: None, unit: "", goal, is_met }
    }

    /// A memory figure with a bound of its own.
    pub(super) fn memory(name: &str, bytes: u64, below_mib: f64) -> Figure {
        let ours = bytes as f64 / (1024.0 * 1024.0);
        let goal = Some(format!("< {below_mib} MiB"));
        Figure {
            name: name.to_owned(),
            ours,
            peer: None,
            ratio: None,
            unit: "MiB",
            goal,
            is_met: Some(ours < below_mib),
        }
    }

    /// A time with a bound of its own.
    pub(super) fn time(name: &str, times: Vec<Duration>, below_ms: f64) -> Figure {
        let alone = Figure::alone(name, times);
        let is_met = Some(alone.ours < below_ms);
        Figure { goal: Some(format!("< {below_ms} ms")), is_met, ..alone }
    }

    /// A time that nothing is compared with.
    pub(super) fn alone(name: &str, times: Vec<Duration>) -> Figure {
        let ours = median(times.into_iter().map(milliseconds).collect());
        Figure { name: name.to_owned(), ours, peer: None, ratio: None, unit: "ms", goal: None, is_met: None }
    }

    fn with_ratio(
        name: &str,
        (ours, peer): (f64, f64),
        ratio: f64,
        unit: &'static str,
        goal: Goal,
    ) -> Figure {
        let (text, is_met) = match goal {
            Goal::RatioBelow(bound) => (format!("< {bound}"), ratio < bound),
            Goal::RatioAbove(bound) => (format!("> {bound}"), ratio > bound),
        };
        let (goal, is_met) = (Some(text), Some(is_met));
        Figure { name: name.to_owned(), ours, peer: Some(peer), ratio: Some(ratio), unit, goal, is_met }
    }
}

/// Runs both sides in turn: once uncounted, then `runs` times counted.
pub(super) fn alternate(
    runs: usize,
    mut ours: impl FnMut() -> Result<Duration>,
    mut peer: impl FnMut() -> Result<Duration>,
) -> Result<Vec<(Duration, Duration)>> {
    ours()?;
    peer()?;
    (0..runs).map(|_| Ok((ours()?, peer()?))).collect()
}

/// The figures as aligned text.
pub(super) fn table(figures: &[Figure]) -> String {
    let width = figures.iter().map(|figure| figure.name.len()).max().unwrap_or(0).max(6);
    let mut text =
        format!("{:width$}  {:>12}  {:>12}  {:>7}  {:>10}\n", "figure", "ours", "peer", "ratio", "goal");
    for figure in figures {
        let amount = |value: f64| format!("{value:.1} {}", figure.unit);
        let peer = figure.peer.map(amount).unwrap_or_default();
        let ratio = figure.ratio.map(|ratio| format!("{ratio:.3}")).unwrap_or_default();
        let goal = figure.goal.as_deref().unwrap_or_default();
        let met = match figure.is_met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        let ours = amount(figure.ours);
        text.push_str(&format!(
            "{:width$}  {ours:>12}  {peer:>12}  {ratio:>7}  {goal:>10}  {met}\n",
            figure.name
        ));
    }
    text
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_goal_is_said() {
        let second = Duration::from_secs(1);
        let pairs = [(second, second), (second * 3, second), (second * 2, second)];
        let text = table(&[Figure::paired("slow", &pairs, Goal::RatioBelow(0.5))]);
        assert!(text.contains("2.000") && text.contains("MISSED"), "{text}");
        let text = table(&[Figure::throughput("fast", 1, &[(second, second * 2)], Goal::RatioAbove(0.5))]);
        assert!(text.contains("2.000") && text.contains(" met"), "{text}");
    }
}
