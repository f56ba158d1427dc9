//! The GPUs of this machine, opened through wgpu.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

use burn::tensor::{
    Device, DeviceKind,
    wgpu::{WgpuBackend, wgpu},
};
use cubecl::{
    config::{CubeClRuntimeConfig, RuntimeConfig, cache::CacheConfig},
    future::block_on,
};
use maskline_foundation::private_folder;

use super::{Compute, SOFTWARE, Software};
use crate::error::ModelError;

/// Keeps kernels, and which of their variants are fastest, in a folder for the next process, if
/// this program was built with the feature `native-gpu`. Where the folder can't be written, each
/// process compiles and tunes its own. Call it before a GPU is opened; later calls do nothing.
pub fn keep_kernels_in(folder: &Path) {
    let mut config = CubeClRuntimeConfig::default().override_from_env();
    config.environment.path = CacheConfig::Directory(folder.to_owned());
    if CubeClRuntimeConfig::try_set(config) {
        // Nothing else could have set it.
        let _ = KERNELS.set(folder.to_owned());
    }
}

/// The folder that kernels are kept in, if somebody has said where.
static KERNELS: OnceLock<PathBuf> = OnceLock::new();

/// The GPU that the drivers recommend for speed (wgpu's "high performance").
pub(super) fn best(software: Software) -> Result<Compute, ModelError> {
    let (compute, renderer) = opened(None, || {
        open("gpu", Device::wgpu_options().init().map_err(text)?)
    })?;
    match (renderer, software) {
        (Renderer::Software, Software::Refused) => Err(ModelError::NoGpu(format!(
            "{} renders in software, which {SOFTWARE}=1 allows",
            compute.name
        ))),
        _ => Ok(compute),
    }
}

/// The GPU of this number, counted from 0.
pub(super) fn nth(index: usize, software: Software) -> Result<Compute, ModelError> {
    let mut adapters = adapters();
    adapters.retain(|adapter| adapter.is_usable(software));
    let Some(adapter) = adapters.get(index) else {
        let names = adapters.into_iter().map(|adapter| adapter.name).collect();
        return Err(ModelError::NoSuchGpu { index, names });
    };
    let opening = || {
        let options = Device::wgpu_options().device_kind(adapter.kind.clone());
        let device = options.graphics_api(adapter.api).init().map_err(text)?;
        open(&format!("gpu:{index}"), device)
    };
    opened(Some(index), opening).map(|(compute, _)| compute)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

/// What computes for a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Renderer {
    Hardware,
    Software,
}

type Opened = Result<(Compute, Renderer), String>;

/// The device of this number, or the best one, as it was opened first. wgpu opens each only once
/// in a process.
fn opened(
    index: Option<usize>,
    open: impl FnOnce() -> Opened,
) -> Result<(Compute, Renderer), ModelError> {
    static OPENED: Mutex<BTreeMap<Option<usize>, Opened>> = Mutex::new(BTreeMap::new());
    let mut all = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let opened = all.entry(index).or_insert_with(|| {
        if let Some(folder) = KERNELS.get() {
            // CubeCL would let everybody read it. Where it can't be made, nothing is kept.
            let _ = private_folder::create(folder);
        }
        open()
    });
    opened.clone().map_err(ModelError::NoGpu)
}

fn open(choice: &str, device: Device) -> Opened {
    let identity = device.identity().ok_or("it has no name")?;
    // Only hardware has a physical identity.
    let renderer = match identity.physical {
        Some(_) => Renderer::Hardware,
        None => Renderer::Software,
    };
    let compute = Compute {
        name: format!("{choice} ({}, wgpu)", identity.name),
        device,
        is_gpu: true,
    };
    Ok((compute, renderer))
}

/// What a driver offers.
struct Adapter {
    name: String,
    kind: DeviceKind,
    api: WgpuBackend,
}

impl Adapter {
    fn is_usable(&self, software: Software) -> bool {
        self.kind != DeviceKind::Cpu || software == Software::Allowed
    }
}

/// The graphics interfaces, the best first. A GPU may be there in several of them.
const APIS: [(wgpu::Backends, WgpuBackend); 3] = [
    (wgpu::Backends::VULKAN, WgpuBackend::Vulkan),
    (wgpu::Backends::METAL, WgpuBackend::Metal),
    (wgpu::Backends::DX12, WgpuBackend::Dx12),
];

/// What the drivers offer, in their order: of the first graphics interface with a GPU, or else of
/// the first with anything.
fn adapters() -> Vec<Adapter> {
    // The Vulkan loader crashes when instances come and go in several threads at once.
    static LISTING: Mutex<()> = Mutex::new(());
    let _listing = LISTING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut software = vec![];
    for (backends, api) in APIS {
        let found = adapters_of(backends, api);
        if found.iter().any(|adapter| adapter.kind != DeviceKind::Cpu) {
            return found;
        }
        if software.is_empty() {
            software = found;
        }
    }
    software
}

fn adapters_of(backends: wgpu::Backends, api: WgpuBackend) -> Vec<Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    // Each kind is counted by itself.
    let (mut discrete, mut integrated, mut virtual_) = (0.., 0.., 0..);
    let adapters = block_on(instance.enumerate_adapters(backends)).into_iter();
    let adapters = adapters.filter_map(|adapter| {
        let info = adapter.get_info();
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => DeviceKind::DiscreteGpu(discrete.next()?),
            wgpu::DeviceType::IntegratedGpu => DeviceKind::IntegratedGpu(integrated.next()?),
            wgpu::DeviceType::VirtualGpu => DeviceKind::VirtualGpu(virtual_.next()?),
            wgpu::DeviceType::Cpu => DeviceKind::Cpu,
            wgpu::DeviceType::Other => return None,
        };
        Some(Adapter {
            name: info.name,
            kind,
            api,
        })
    });
    adapters.collect()
}
