//! Work in the background: does it still run, and does it succeed?

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Work that fails this often in a row is not well.
const FAILURES_MAX: u32 = 3;

/// All work that was registered, by name.
#[derive(Default)]
pub(crate) struct Background(Mutex<BTreeMap<&'static str, Arc<Mutex<State>>>>);

/// How a task is doing.
#[derive(Clone, Debug)]
pub(super) struct State {
    patience: Duration,
    alive: Instant,
    pub runs: u64,
    pub failures: u64,
    failures_in_a_row: u32,
    /// It has ended as it should.
    is_over: bool,
}

/// A task's side. When it goes, the task is over.
pub struct Task(Arc<Mutex<State>>);

impl Background {
    pub fn begin(&self, name: &'static str, patience: Duration) -> Task {
        let mut tasks = lock(&self.0);
        let before = tasks.get(name).map(|state| lock(state).clone());
        let state = State {
            patience,
            alive: Instant::now(),
            runs: before.as_ref().map_or(0, |state| state.runs),
            failures: before.as_ref().map_or(0, |state| state.failures),
            failures_in_a_row: 0,
            is_over: false,
        };
        let state = Arc::new(Mutex::new(state));
        tasks.insert(name, Arc::clone(&state));
        Task(state)
    }

    pub(super) fn states(&self) -> Vec<(&'static str, State)> {
        lock(&self.0).iter().map(|(name, state)| (*name, lock(state).clone())).collect()
    }

    /// What is not well, a sentence each.
    pub fn problems(&self) -> Vec<String> {
        let problem = |(name, state): (&'static str, State)| state.problem(name);
        self.states().into_iter().filter_map(problem).collect()
    }
}

impl State {
    fn problem(&self, name: &str) -> Option<String> {
        let silence = self.alive.elapsed();
        if self.is_over {
            None
        } else if silence > self.patience {
            Some(format!("background work `{name}` was last heard of {} s ago", silence.as_secs()))
        } else if self.failures_in_a_row >= FAILURES_MAX {
            let times = self.failures_in_a_row;
            Some(format!("background work `{name}` has failed {times} times in a row"))
        } else {
            None
        }
    }

    /// Seconds since it was heard of, while it runs.
    pub fn silence(&self) -> Option<f64> {
        (!self.is_over).then(|| self.alive.elapsed().as_secs_f64())
    }
}

impl Task {
    /// It is alive, in the middle of its work or waiting for it.
    pub fn beat(&self) {
        lock(&self.0).alive = Instant::now();
    }

    /// A round of work has ended.
    pub fn ended<T, E>(&self, outcome: &Result<T, E>) {
        let mut state = lock(&self.0);
        state.alive = Instant::now();
        state.runs += 1;
        if outcome.is_ok() {
            state.failures_in_a_row = 0;
        } else {
            state.failures += 1;
            state.failures_in_a_row = state.failures_in_a_row.saturating_add(1);
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // A panic is not an end.
        lock(&self.0).is_over = !std::thread::panicking();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_failures_are_named_until_they_end() {
        let background = Background::default();
        let quick = background.begin("quick", Duration::ZERO);
        let clumsy = background.begin("clumsy", Duration::MAX);
        quick.beat();
        for _ in 0..3 {
            clumsy.ended(&Err::<(), ()>(()));
        }
        let problems = background.problems();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("`clumsy` has failed 3 times"), "{problems:?}");
        assert!(problems[1].contains("`quick` was last heard of"), "{problems:?}");
        clumsy.ended(&Ok::<(), ()>(()));
        drop(quick);
        assert_eq!(background.problems(), Vec::<String>::new());
        let counts: Vec<_> = background
            .states()
            .into_iter()
            .map(|(name, state)| (name, state.runs, state.failures))
            .collect();
        assert_eq!(counts, [("clumsy", 4, 3), ("quick", 0, 0)]);
    }
}
