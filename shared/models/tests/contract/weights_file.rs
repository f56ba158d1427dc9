//! Files of weights that PyTorch saved. `tests/torch_files/make.py` made those that are read here.

use std::{fs, path::PathBuf};

use maskline_models::{ModelError, weights_file};
use safetensors::{Dtype, SafeTensors};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/torch_files")
        .join(name)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (floats, _) = bytes.as_chunks();
    floats.iter().copied().map(f32::from_le_bytes).collect()
}

fn check(bytes: &[u8]) {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let mut names = file.names();
    names.sort();
    let expected = [
        "half",
        "layer.bias",
        "layer.weight",
        "num_batches_tracked",
        "transposed",
    ];
    assert_eq!(names, expected);
    let weight = file.tensor("layer.weight").unwrap();
    assert_eq!(weight.shape(), [2, 3]);
    assert_eq!(floats(weight.data()), [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]);
    let bias = file.tensor("layer.bias").unwrap();
    let (doubles, _) = bias.data().as_chunks();
    let doubles = doubles.iter().copied().map(f64::from_le_bytes);
    assert_eq!(bias.dtype(), Dtype::F64);
    assert_eq!(doubles.collect::<Vec<_>>(), [0.0, 0.25]);
    let transposed = file.tensor("transposed").unwrap();
    assert_eq!(floats(transposed.data()), [0.0, 0.5, 0.25, 0.75]);
    assert_eq!(file.tensor("half").unwrap().dtype(), Dtype::F16);
    assert_eq!(
        file.tensor("num_batches_tracked").unwrap().data(),
        7i64.to_le_bytes()
    );
}

#[test]
fn zip_archives_legacy_pickles_and_wrapped_state_dicts_are_read() {
    for name in ["zip.pth", "legacy.pth", "wrapped.pth"] {
        check(&weights_file::read(&path(name)).unwrap());
    }
}

#[test]
fn a_safetensors_file_is_read_as_it_is() {
    let bytes = weights_file::read(&path("zip.pth")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weights");
    fs::write(&file, &bytes).unwrap();
    assert_eq!(weights_file::read(&file).unwrap(), bytes);
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let refused = weights_file::read(&file).unwrap_err().to_string();
    assert!(
        refused.contains("weights: not a sound safetensors file"),
        "{refused}"
    );
}

#[test]
fn tensors_of_another_kind_are_refused_as_such() {
    let refused = weights_file::read(&path("quantized.pth")).unwrap_err();
    let refused = refused.to_string();
    let expected = "it holds tensors that can't be read (`torch.";
    assert!(refused.contains(expected), "{refused}");
}

#[test]
fn no_code_of_a_pickle_is_run() {
    // In one file it stands in place of the state dict, and in the other it takes a tensor.
    for name in ["code.pth", "code_with_tensor.pth"] {
        let refused = weights_file::read(&path(name)).unwrap_err().to_string();
        let expected = "it holds code or objects other than the tensors of a state dict, such as \
                        `posix.system`, and maskline runs none of it: save the state dict with \
                        torch.save(model.state_dict(), FILE)";
        assert!(refused.ends_with(expected), "{refused}");
    }
    // Beside tensors it is left out.
    let beside = weights_file::read(&path("code_beside.pth")).unwrap();
    assert_eq!(
        SafeTensors::deserialize(&beside).unwrap().names(),
        ["layer.weight"]
    );
    assert!(!PathBuf::from("code-was-run").exists());
}

#[test]
fn what_is_no_file_of_weights_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weights.pth");
    let zip = fs::read(path("zip.pth")).unwrap();
    let cut = &zip[..zip.len() / 2];
    for bytes in [&b""[..], b"no weights at all", cut, b"PK\x03\x04"] {
        fs::write(&file, bytes).unwrap();
        let refused = weights_file::read(&file).unwrap_err().to_string();
        assert!(refused.contains("weights.pth: "), "{refused}");
    }
    let refused = weights_file::read(&folder.path().join("nothing")).unwrap_err();
    assert!(matches!(refused, ModelError::File { .. }), "{refused}");
}
