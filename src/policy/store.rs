//! Holds the policies in force; a new set takes the old one's place at once and raises the epoch.

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;

use super::engine::Engine;

/// The engine in force and its epoch. A permit that was given under an older epoch is worth nothing (I1).
#[derive(Debug)]
pub struct EngineStore {
    held: RwLock<(Arc<Engine>, u64)>,
    replaced: watch::Sender<u64>,
}

impl EngineStore {
    /// Begins with `engine`, at epoch 1.
    pub fn new(engine: Engine) -> Self {
        Self { held: RwLock::new((Arc::new(engine), 1)), replaced: watch::Sender::new(1) }
    }

    /// The engine in force.
    pub fn current(&self) -> Arc<Engine> {
        Arc::clone(&self.held.read().0)
    }

    /// The engine in force and its epoch, of the same moment.
    pub fn snapshot(&self) -> (Arc<Engine>, u64) {
        let held = self.held.read();
        (Arc::clone(&held.0), held.1)
    }

    /// The epoch: it grows by one with every replacement.
    pub fn epoch(&self) -> u64 {
        self.held.read().1
    }

    /// Puts `engine` in force and returns the new epoch.
    pub fn replace(&self, engine: Engine) -> u64 {
        let mut held = self.held.write();
        held.0 = Arc::new(engine);
        held.1 = held.1.saturating_add(1);
        self.replaced.send_replace(held.1);
        held.1
    }

    /// Tells the epoch of every replacement.
    pub fn replacements(&self) -> watch::Receiver<u64> {
        self.replaced.subscribe()
    }
}
