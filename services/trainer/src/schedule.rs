//! The learning rate: a linear warm-up, then half a cosine down to zero.
//!
//! The cosine is that of Loshchilov and Hutter, "SGDR" (2017), without restarts. The warm-up
//! is that of Goyal et al., "Accurate, Large Minibatch SGD" (2017).

use std::f64::consts::PI;

use maskline_messages::TrainingSettings;

/// The learning rate of every step of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Schedule {
    peak: f64,
    warmup_steps: f64,
    steps: f64,
}

impl Schedule {
    pub(crate) fn new(settings: &TrainingSettings, steps_per_epoch: usize) -> Self {
        let steps_per_epoch = steps_per_epoch as f64;
        let steps = f64::from(settings.epochs) * steps_per_epoch;
        let warmup_steps = f64::from(settings.warmup_epochs) * steps_per_epoch;
        Self {
            peak: settings.learning_rate.into(),
            warmup_steps: warmup_steps.round().min(steps),
            steps,
        }
    }

    /// The learning rate of a step, counted from 0 over the whole run.
    pub(crate) fn at(&self, step: usize) -> f64 {
        let step = step as f64;
        if step < self.warmup_steps {
            return self.peak * (step + 1.0) / (self.warmup_steps + 1.0);
        }
        let share = (step - self.warmup_steps) / (self.steps - self.warmup_steps).max(1.0);
        self.peak * 0.5 * (1.0 + (PI * share.min(1.0)).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(epochs: u32, warmup_epochs: f32, steps_per_epoch: usize) -> Schedule {
        let settings = TrainingSettings {
            epochs,
            warmup_epochs,
            learning_rate: 1.0,
            ..TrainingSettings::default()
        };
        Schedule::new(&settings, steps_per_epoch)
    }

    #[test]
    fn the_rate_rises_linearly_to_its_peak_and_falls_to_nearly_zero() {
        let schedule = schedule(10, 1.0, 4);
        let rates: Vec<f64> = (0..40).map(|step| schedule.at(step)).collect();
        for (step, expected) in [0.2, 0.4, 0.6, 0.8, 1.0].into_iter().enumerate() {
            assert!((rates[step] - expected).abs() < 1e-6, "{rates:?}");
        }
        assert!(
            rates[4..].windows(2).all(|pair| pair[1] < pair[0]),
            "{rates:?}"
        );
        // In the middle of the cosine the rate is half of the peak.
        assert!((rates[22] - 0.5).abs() < 1e-6, "{}", rates[22]);
        assert!((0.0..0.01).contains(&rates[39]), "{}", rates[39]);
    }

    #[test]
    fn a_warm_up_may_take_a_fraction_of_an_epoch_or_none() {
        assert!((schedule(2, 0.5, 4).at(2) - 1.0).abs() < 1e-6);
        assert!((schedule(2, 0.0, 4).at(0) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_rate_is_never_zero() {
        for (epochs, warmup, steps) in [(1, 0.0, 1), (1, 1.0, 1), (1, 5.0, 3), (3, 1.0, 1)] {
            let schedule = schedule(epochs, warmup, steps);
            for step in 0..epochs as usize * steps {
                let rate = schedule.at(step);
                assert!(
                    rate > 0.0 && rate <= 1.0,
                    "{epochs} {warmup} {steps}: {rate}"
                );
            }
        }
    }
}
