//! From pairs of measurements to rows of the table.

use crate::stats::Samples;

pub(crate) const COLUMNS: [&str; 8] =
    ["model", "what", "rbee", "peer", "rbee / peer", "least – most", "wanted", "met"];

/// What a ratio, ours to theirs, has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wanted {
    AtLeast(f64),
    AtMost(f64),
    /// Whatever it is: it is told for whoever judges the others.
    Anything,
}

/// Something that is measured on both servers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    name: &'static str,
    wanted: Wanted,
    aim: Option<f64>,
}

impl Measure {
    /// `name` ends with the unit.
    pub(crate) fn new(name: &'static str, wanted: Wanted) -> Self {
        Self { name, wanted, aim: None }
    }

    /// Better still would be this ratio.
    pub(crate) fn aim(self, aim: f64) -> Self {
        Self { aim: Some(aim), ..self }
    }

    fn is_met(&self, ratio: f64) -> bool {
        match self.wanted {
            Wanted::AtLeast(least) => ratio >= least,
            Wanted::AtMost(most) => ratio <= most,
            Wanted::Anything => true,
        }
    }

    fn wanted(&self) -> String {
        let (sign, bound) = match self.wanted {
            Wanted::AtLeast(least) => ("≥", least),
            Wanted::AtMost(most) => ("≤", most),
            Wanted::Anything => return "–".to_owned(),
        };
        let aim = self.aim.map_or(String::new(), |aim| format!(", aim {aim}"));
        format!("{sign} {bound}{aim}")
    }
}

/// Pairs of measurements.
pub(crate) struct Comparison(Vec<Compared>);

struct Compared {
    measure: Measure,
    ours: Samples,
    theirs: Samples,
    ratios: Samples,
}

impl Comparison {
    pub(crate) fn new(measures: Vec<Measure>) -> Self {
        let compared = |measure| Compared {
            measure,
            ours: Samples::default(),
            theirs: Samples::default(),
            ratios: Samples::default(),
        };
        Self(measures.into_iter().map(compared).collect())
    }

    /// Adds a pair: a figure of each server for each measure.
    pub(crate) fn add(&mut self, ours: &[f64], theirs: &[f64]) {
        for (compared, (ours, theirs)) in self.0.iter_mut().zip(ours.iter().zip(theirs)) {
            compared.ours.add(*ours);
            compared.theirs.add(*theirs);
            compared.ratios.add(ours / theirs);
        }
    }

    /// A row for each measure, with what is to be said where it is not as it should be.
    pub(crate) fn rows(self, model: &str) -> Vec<(Vec<String>, Option<String>)> {
        self.0.into_iter().map(|compared| compared.row(model)).collect()
    }
}

impl Compared {
    fn row(mut self, model: &str) -> (Vec<String>, Option<String>) {
        let Measure { name, .. } = self.measure;
        let wanted = self.measure.wanted();
        let ratio = self.ratios.median();
        let is_met = self.measure.is_met(ratio);
        let row = vec![
            model.to_owned(),
            name.to_owned(),
            format!("{:.1}", self.ours.median()),
            format!("{:.1}", self.theirs.median()),
            format!("{ratio:.2}"),
            format!("{:.2} – {:.2}", self.ratios.quantile(0.0), self.ratios.quantile(1.0)),
            wanted.clone(),
            match (self.measure.wanted, is_met) {
                (Wanted::Anything, _) => "–",
                (_, true) => "yes",
                (_, false) => "no",
            }
            .to_owned(),
        ];
        let failure = format!("{model}, {name}: the ratio is {ratio:.3}, and should be {wanted}");
        (row, (!is_met).then_some(failure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wanted: Wanted, pairs: &[(f64, f64)], expected: [&str; 5], is_met: bool) {
        let mut comparison = Comparison::new(vec![Measure::new("speed", wanted).aim(1.1)]);
        pairs.iter().for_each(|(ours, theirs)| comparison.add(&[*ours], &[*theirs]));
        let (row, failure) = comparison.rows("m").remove(0);
        assert_eq!(row[2..7], expected);
        assert_eq!((row[7] == "yes", failure.is_none()), (is_met, is_met));
    }

    #[test]
    fn a_row_has_the_median_of_the_pairs_ratios_and_their_spread() {
        let pairs = [(10.0, 10.0), (30.0, 20.0), (20.0, 40.0)];
        let expected = ["20.0", "20.0", "1.00", "0.50 – 1.50", "≥ 0.97, aim 1.1"];
        check(Wanted::AtLeast(0.97), &pairs, expected, true);
        let expected = ["20.0", "20.0", "1.00", "0.50 – 1.50", "≤ 0.8, aim 1.1"];
        check(Wanted::AtMost(0.8), &pairs, expected, false);
    }

    #[test]
    fn the_middle_of_an_even_number_of_pairs_lies_between_two() {
        let pairs = [(10.0, 10.0), (20.0, 10.0)];
        check(Wanted::AtLeast(1.6), &pairs, ["15.0", "10.0", "1.50", "1.00 – 2.00", "≥ 1.6, aim 1.1"], false);
    }

    #[test]
    fn what_is_only_told_is_never_missed() {
        let mut comparison = Comparison::new(vec![Measure::new("part", Wanted::Anything)]);
        comparison.add(&[1.0], &[4.0]);
        let (row, failure) = comparison.rows("m").remove(0);
        assert_eq!((&row[4..], failure), (&["0.25", "0.25 – 0.25", "–", "–"].map(str::to_owned)[..], None));
    }

    #[test]
    fn what_cannot_be_compared_is_not_met() {
        check(
            Wanted::AtLeast(0.9),
            &[(0.0, 0.0)],
            ["0.0", "0.0", "NaN", "NaN – NaN", "≥ 0.9, aim 1.1"],
            false,
        );
    }
}
