//! The disk of the object folder becomes full, and has room again later.

use std::{fs::File, io::Write, path::PathBuf, process::Command};

use maskline_test_support::environment::Environment;
use tempfile::TempDir;

use super::{
    checks::check_and_remove,
    job_under_test::{JobUnderTest, until},
    replicas::Replicas,
    trial::Trial,
};
use crate::process::SERVICES;

/// The size of the disk, which is several times that of a job's objects.
const SIZE: &str = "512m";

/// The error that a service logs when an object finds no room.
const NO_ROOM: &str = "No space left on device";

/// Fills the disk in the middle of a job, waits until a service logs the error, and frees
/// the disk.
pub async fn full(trial: &mut Trial) {
    while trial.needs_another_job(trial.amount.faults) {
        let mut environment = Environment::embedded();
        let disk = match Disk::mount() {
            Ok(disk) => disk,
            Err(why) => return trial.skip(why),
        };
        environment.keep_objects_in(&disk.folder.path().join("objects"));
        let replicas = Replicas::start(&environment, &SERVICES).await;
        let job = JobUnderTest::enqueue(trial, environment, replicas).await;
        trial.random_pause(0.0..1.0).await;
        let in_flight = job.in_flight().await;
        if in_flight > 0 {
            let ballast = disk.fill();
            let is_logged = || {
                let mut logs = job.replicas.all.iter().map(|one| one.process.log());
                logs.any(|log| log.contains(NO_ROOM))
            };
            until(async || is_logged() || job.is_over().await).await;
            let was_met = is_logged();
            trial.random_pause(1.0..5.0).await;
            std::fs::remove_file(ballast).expect("the file can be removed");
            if was_met {
                trial.record_fault(format_args!(
                    "the objects' disk full with {in_flight} candidates in flight, and freed"
                ));
            }
        }
        check_and_remove(job, trial).await;
    }
}

/// A small disk in memory. It is unmounted when it is dropped.
struct Disk {
    /// The mount point. It is removed after the disk is unmounted.
    folder: TempDir,
}

impl Disk {
    /// Mounts a disk. The error says why that is impossible on this machine.
    fn mount() -> Result<Self, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let size = format!("size={SIZE}");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "maskline-faults"])
            .arg(folder.path())
            .output();
        match mount {
            Ok(mount) if mount.status.success() => Ok(Self { folder }),
            Ok(mount) => {
                let why = String::from_utf8_lossy(&mount.stderr);
                Err(format!(
                    "no small disk can be mounted: run it as root ({})",
                    why.trim()
                ))
            }
            Err(error) => Err(format!("no small disk can be mounted: mount: {error}")),
        }
    }

    /// Writes a file that leaves no room. Returns its path.
    fn fill(&self) -> PathBuf {
        let path = self.folder.path().join("ballast");
        let mut file = File::create(&path).expect("an empty file finds room");
        // It begins with large pieces and ends with single bytes.
        for piece in [vec![0; 1 << 20], vec![0; 1 << 12], vec![0; 1]] {
            while file.write_all(&piece).is_ok() {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount")
            .arg("--lazy")
            .arg(self.folder.path())
            .status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.folder.path().display());
        }
    }
}
