//! Wakes consumers, in this process and the others, when a queue has something.
//!
//! Each queue has an empty file beside the database. Whoever publishes changes
//! the file's time of change, and the kernel tells all processes that watch the
//! folder: nobody looks in vain.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use maskline_messages::Queue;
use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::Notify;

pub struct Wake {
    bells: Arc<Bells>,
    files: BTreeMap<Queue, File>,
    // Watches as long as it lives; none where the system has no watches left.
    _watcher: Option<notify::RecommendedWatcher>,
}

struct Bells(BTreeMap<Queue, Arc<Notify>>);

impl Bells {
    fn ring(&self, queue: Queue) {
        self.0[&queue].notify_waiters();
    }

    fn ring_all(&self) {
        self.0.values().for_each(|bell| bell.notify_waiters());
    }

    fn heard(&self, event: notify::Result<notify::Event>) {
        match event {
            // A lost event could be any.
            Err(_) => self.ring_all(),
            Ok(event) if event.need_rescan() => self.ring_all(),
            Ok(event) if matches!(event.kind, EventKind::Modify(_)) => {
                let names = event
                    .paths
                    .iter()
                    .filter_map(|path| path.file_name()?.to_str());
                names
                    .filter_map(|name| name.parse().ok())
                    .for_each(|queue| self.ring(queue));
            }
            Ok(_) => {}
        }
    }
}

impl Wake {
    /// `folder` is the same for all processes that share the queue.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let file = |queue: Queue| {
            let mut options = File::options();
            options.create(true).append(true);
            Ok((queue, options.open(folder.join(queue.name()))?))
        };
        let files = Queue::ALL
            .into_iter()
            .map(file)
            .collect::<io::Result<_>>()?;
        let bells = Queue::ALL.into_iter().map(|queue| (queue, Arc::default()));
        let bells = Arc::new(Bells(bells.collect()));
        let watcher = watch(folder, bells.clone()).inspect_err(|error| {
            tracing::warn!(%error, "other processes' messages are seen only every second: \
                raise fs.inotify.max_user_instances");
        });
        Ok(Self {
            bells,
            files,
            _watcher: watcher.ok(),
        })
    }

    /// Tells everybody that `queue` has something.
    pub fn ring(&self, queue: Queue) {
        self.bells.ring(queue);
        // Should it fail, the others look by themselves within a second.
        let _ = self.files[&queue].set_modified(SystemTime::now());
    }

    pub fn bell(&self, queue: Queue) -> Arc<Notify> {
        self.bells.0[&queue].clone()
    }
}

fn watch(folder: &Path, bells: Arc<Bells>) -> notify::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event| bells.heard(event))?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}
