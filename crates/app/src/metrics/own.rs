//! Answers from the series in the own store.

use std::collections::BTreeMap;

use gantry_metrics::key::{INSTANCE, Matcher, NAME};
use gantry_metrics::range::Range;
use gantry_metrics::{Error as StoreError, Selection, Store};
use gantry_model::metrics::{MetricType, MetricsPayload, Point, ResultType, Series};
use gantry_model::{Error, Result};

use super::formula::{Formula, Labels, formula};
use super::query::{SERIES_MAX, Scope, too_much};

/// Samples that one query may read.
const SAMPLES_MAX: u64 = 50_000_000;
/// Points that one query may compute, of all series together.
const EVALUATIONS_MAX: usize = 50_000_000;
/// Where series were thinned out, no window is shorter than this many of what is left.
const THIN_MIN: i64 = 4;

/// For each series of an answer, a value or none for each point.
type Sums = BTreeMap<Labels, Vec<Option<f64>>>;

/// Sums in the making.
#[derive(Default)]
struct Found {
    sums: Sums,
    evaluations: usize,
    too_many: bool,
}

/// The series of one type.
pub(super) fn answer(
    store: &Store,
    scope: &Scope,
    kind: MetricType,
    mut range: Range,
) -> Result<MetricsPayload> {
    let first = range.start.saturating_sub(range.window);
    if let Some(resolution) = store.resolution(scope.cluster, first, range.end) {
        range.window = range.window.max(THIN_MIN * resolution);
    }
    let formula = formula(kind);
    let mut sums = sums(store, scope, &formula, formula.family, &range)?;
    if let Some(divisor) = formula.divisor {
        let divisors = self::sums(store, scope, &formula, divisor, &range)?;
        for (labels, values) in &mut sums {
            let below = divisors.get(labels);
            for (point, value) in values.iter_mut().enumerate() {
                let below = below.and_then(|values| *values.get(point)?);
                let below = below.filter(|below| *below > 0.0);
                *value = value.zip(below).map(|(above, below)| above / below);
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53 ms")]
    let factor = if formula.is_total { range.step as f64 / 1000.0 } else { 1.0 };
    let series = |(metric, values): (Labels, Vec<Option<f64>>)| {
        let values = values.into_iter().enumerate();
        let point = |(point, value): (usize, Option<f64>)| {
            Some(Point::new(range.time(point), value? * factor))
        };
        Series { metric, values: values.filter_map(point).collect() }
    };
    let result = sums.into_iter().map(series).filter(|series| !series.values.is_empty()).collect();
    Ok(MetricsPayload { result_type: ResultType::Matrix, result })
}

/// The values of all series of a family, summed by the formula's groups.
fn sums(
    store: &Store,
    scope: &Scope,
    formula: &Formula,
    family: &str,
    range: &Range,
) -> Result<Sums> {
    let of_apis = |id: &Option<String>| id.clone().filter(|_| formula.is_of_apis);
    let (app, api) = (of_apis(&scope.app), of_apis(&scope.api));
    let wanted = [("service", &app), ("route", &api), (INSTANCE, &scope.instance)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let selection = Selection {
        matcher: Matcher::new([(NAME, family)].into_iter().chain(wanted)),
        start: range.start.saturating_sub(range.window),
        end: range.end,
        samples_max: SAMPLES_MAX,
    };
    let found = store.select(scope.cluster, &selection, |found: &mut Found, key, samples| {
        if !scope.sees(key.get("service")) {
            return;
        }
        let Some(labels) = (formula.group)(key) else { return };
        let Found { sums, evaluations, too_many } = found;
        *evaluations += range.points();
        *too_many |= *evaluations > EVALUATIONS_MAX
            || sums.len() >= SERIES_MAX && !sums.contains_key(&labels);
        if *too_many {
            return;
        }
        let values = sums.entry(labels).or_insert_with(|| vec![None; range.points()]);
        range.evaluate(formula.function, samples, |point, value| {
            if let Some(sum) = values.get_mut(point) {
                *sum = Some(sum.unwrap_or(0.0) + value);
            }
        });
    });
    match found {
        Ok(Found { sums, too_many: false, .. }) => Ok(sums),
        Ok(_) | Err(StoreError::TooMany) => Err(too_much(range)),
        Err(StoreError::Io(error)) => Err(Error::internal(error)),
    }
}
