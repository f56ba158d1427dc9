//! Notifies consumers, in this process and the others, when a queue has something.
//!
//! Each queue has an empty file beside the database. A process that publishes sets the
//! file's modification time, and the kernel notifies all processes that watch the folder.
//! So consumers rarely have to poll.

use std::{collections::BTreeMap, fs::File, io, path::Path, sync::Arc, time::SystemTime};

use maskline_foundation::private_folder;
use maskline_messages::Queue;
use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Notifies the consumers of all processes, and passes on what other processes notify.
pub struct Notifier {
    notices: Arc<Notices>,
    files: BTreeMap<Queue, File>,
    // It watches as long as it lives. It is `None` if the system has no watches left.
    _watcher: Option<notify::RecommendedWatcher>,
}

/// The notifications that the consumers of this process wait for.
struct Notices(BTreeMap<Queue, Arc<Notify>>);

impl Notices {
    fn notify(&self, queue: Queue) {
        self.0[&queue].notify_waiters();
    }

    fn notify_all(&self) {
        self.0.values().for_each(|notice| notice.notify_waiters());
    }

    fn changed(&self, event: notify::Result<notify::Event>) {
        match event {
            // A lost event could be about any queue.
            Err(_) => self.notify_all(),
            Ok(event) if event.need_rescan() => self.notify_all(),
            Ok(event) if matches!(event.kind, EventKind::Modify(_)) => {
                let names = event
                    .paths
                    .iter()
                    .filter_map(|path| path.file_name()?.to_str());
                names
                    .filter_map(|name| name.parse().ok())
                    .for_each(|queue| self.notify(queue));
            }
            Ok(_) => {}
        }
    }
}

impl Notifier {
    /// `folder` is the same for all processes that share the queue.
    pub fn open(folder: &Path) -> io::Result<Self> {
        private_folder::create(folder)?;
        let file = |queue: Queue| {
            let mut options = private_folder::file_options();
            options.create(true).append(true);
            Ok((queue, options.open(folder.join(queue.name()))?))
        };
        let files = Queue::ALL
            .into_iter()
            .map(file)
            .collect::<io::Result<_>>()?;
        let notices = Queue::ALL.into_iter().map(|queue| (queue, Arc::default()));
        let notices = Arc::new(Notices(notices.collect()));
        let watcher = watch(folder, notices.clone()).inspect_err(|error| {
            tracing::warn!(%error, "other processes' messages are seen only every second: \
                raise fs.inotify.max_user_instances");
        });
        Ok(Self {
            notices,
            files,
            _watcher: watcher.ok(),
        })
    }

    /// Notifies everybody who waits for messages of `queue`.
    pub fn notify(&self, queue: Queue) {
        self.notices.notify(queue);
        // If this fails, the other processes poll the file within a second.
        let _ = self.files[&queue].set_modified(SystemTime::now());
    }

    /// The notification that a consumer of `queue` waits for.
    pub fn notice(&self, queue: Queue) -> Arc<Notify> {
        self.notices.0[&queue].clone()
    }
}

fn watch(folder: &Path, notices: Arc<Notices>) -> notify::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event| notices.changed(event))?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}
