//! Pauses between attempts: growing, bounded, and different on every gateway.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
/// An outage of the source must not be followed by a minute in which nobody comes back.
const LONGEST: Duration = Duration::from_secs(10);

/// Doubles from pause to pause until something worked.
pub struct Pace {
    next: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Pace {
    /// Something worked: the next pause is short again.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }

    /// Waits between half and all of the pause that is due.
    pub async fn wait(&mut self) {
        let pause = self.next.mul_f64(rand::random_range(0.5..1.0));
        self.next = (self.next * 2).min(LONGEST);
        tokio::time::sleep(pause).await;
    }
}
