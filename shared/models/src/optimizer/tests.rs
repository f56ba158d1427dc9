use burn::{
    nn::{Linear, LinearConfig},
    optim::{AdamWConfig, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig},
};

use super::*;

fn settings(optimizer: Kind, weight_decay: f32) -> TrainingSettings {
    TrainingSettings {
        optimizer,
        weight_decay,
        ..TrainingSettings::default()
    }
}

fn layer(device: &Device) -> Linear {
    let layer = LinearConfig::new(3, 2).init(device);
    let values = |count: usize| (0..count).map(|i| i as f32 * 0.3 - 0.7).collect::<Vec<_>>();
    let weight = Tensor::from_data(TensorData::new(values(6), [3, 2]), device);
    let bias = Tensor::from_data(TensorData::new(values(2), [2]), device);
    Linear {
        weight: Param::initialized(layer.weight.id, weight.require_grad()),
        bias: layer
            .bias
            .map(|old| Param::initialized(old.id, bias.require_grad())),
    }
}

/// The gradients of a loss that differs from step to step.
fn gradients(layer: &Linear, step: usize, device: &Device) -> GradientsParams {
    let input: Vec<f32> = (0..12)
        .map(|i| ((i * 7 + step * 5) % 11) as f32 / 5.0 - 1.0)
        .collect();
    let input = Tensor::<2>::from_data(TensorData::new(input, [4, 3]), device);
    let loss = layer.forward(input).powi_scalar(2).sum();
    GradientsParams::from_grads(loss.backward(), layer)
}

fn values(layer: &Linear) -> Vec<f32> {
    let mut values: Vec<f32> = layer.weight.val().inner().try_into_vec_as().unwrap();
    let bias = layer.bias.as_ref().unwrap().val().inner();
    values.extend(bias.try_into_vec_as::<f32>().unwrap());
    values
}

fn assert_near(ours: &[f32], theirs: &[f32]) {
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!((ours - theirs).abs() < 1e-5, "{ours} {theirs}");
    }
}

#[test]
fn without_weight_decay_both_optimizers_move_weights_as_burns_do() {
    let device = Device::flex().autodiff();
    let momentum = MomentumConfig::new()
        .with_dampening(0.0)
        .with_nesterov(true);
    let cases = [
        (
            Kind::Adamw,
            AdamWConfig::new()
                .with_epsilon(1e-8)
                .with_weight_decay(0.0)
                .init(),
        ),
        (
            Kind::Sgd,
            SgdConfig::new().with_momentum(Some(momentum)).init(),
        ),
    ];
    for (kind, mut burns) in cases {
        let mut optimizer = Optimizer::new(&settings(kind, 0.0));
        let (mut ours, mut theirs) = (layer(&device), layer(&device));
        for step in 0..20 {
            let gradient = gradients(&ours, step, &device);
            ours = optimizer.step(0.01, ours, gradient);
            let gradient = gradients(&theirs, step, &device);
            theirs = burns.step(0.01, theirs, gradient);
        }
        assert_near(&values(&ours), &values(&theirs));
        assert_ne!(values(&ours), values(&layer(&device)));
    }
}

#[test]
fn weight_decay_applies_to_weights_and_not_to_biases() {
    let device = Device::flex().autodiff();
    let decay = WeightDecayConfig::new(0.5);
    let momentum = MomentumConfig::new()
        .with_dampening(0.0)
        .with_nesterov(true);
    let sgd = SgdConfig::new()
        .with_weight_decay(Some(decay))
        .with_momentum(Some(momentum));
    let cases = [
        (
            Kind::Adamw,
            AdamWConfig::new()
                .with_epsilon(1e-8)
                .with_weight_decay(0.5)
                .init(),
        ),
        (Kind::Sgd, sgd.init()),
    ];
    for (kind, mut burns) in cases {
        let moved = |weight_decay| {
            let start = layer(&device);
            let gradient = gradients(&start, 0, &device);
            Optimizer::new(&settings(kind, weight_decay)).step(0.1, start, gradient)
        };
        let start = layer(&device);
        let gradient = gradients(&start, 0, &device);
        let theirs = burns.step(0.1, start, gradient);
        let (ours, plain) = (moved(0.5), moved(0.0));
        assert_near(&values(&ours)[..6], &values(&theirs)[..6]);
        assert_eq!(values(&ours)[6..], values(&plain)[6..]);
    }
}

#[test]
fn weights_without_a_gradient_stay() {
    let device = Device::flex().autodiff();
    let mut optimizer = Optimizer::new(&settings(Kind::Adamw, 0.5));
    let still = optimizer.step(0.1, layer(&device), GradientsParams::new());
    assert_eq!(values(&still), values(&layer(&device)));
}

#[test]
fn a_restored_optimizer_continues_exactly_where_it_was_saved() {
    let device = Device::flex().autodiff();
    for kind in [Kind::Adamw, Kind::Sgd] {
        let settings = settings(kind, 0.01);
        let mut optimizer = Optimizer::new(&settings);
        let mut layer = layer(&device);
        for step in 0..5 {
            let gradient = gradients(&layer, step, &device);
            layer = optimizer.step(0.01, layer, gradient);
        }
        let saved = optimizer.save().unwrap();
        let mut restored = Optimizer::new(&settings)
            .restore(&saved, &device.clone().inner())
            .unwrap();
        let gradient = gradients(&layer, 5, &device);
        let expected = optimizer.step(0.01, layer.clone(), gradient);
        let gradient = gradients(&layer, 5, &device);
        let found = restored.step(0.01, layer, gradient);
        assert_eq!(values(&found), values(&expected));
    }
}

#[test]
fn bytes_that_are_not_a_state_are_refused() {
    let device = Device::flex();
    let optimizer = Optimizer::new(&TrainingSettings::default());
    assert!(optimizer.restore(b"not a file", &device).is_err());
}

#[test]
fn the_mean_of_the_weights_follows_them_and_is_saved() {
    let device = Device::flex().autodiff();
    let plain = settings(Kind::Sgd, 0.0);
    let settings = TrainingSettings {
        ema: 0.5,
        ..plain.clone()
    };
    let (mut optimizer, mut layer) = (Optimizer::new(&settings), layer(&device));
    let mut expected: Option<Vec<f32>> = None;
    for step in 0..20 {
        let gradients = gradients(&layer, step, &device);
        layer = optimizer.step(0.01, layer, gradients);
        let steps = step as f32 + 1.0;
        let stays = ((1.0 + steps) / (10.0 + steps)).min(0.5);
        let mean = expected.map_or_else(
            || values(&layer),
            |mean| {
                let pairs = mean.iter().zip(values(&layer));
                pairs
                    .map(|(mean, value)| mean * stays + value * (1.0 - stays))
                    .collect()
            },
        );
        expected = Some(mean);
    }
    let expected = expected.unwrap();
    assert_near(&values(&optimizer.averaged(layer.clone())), &expected);
    assert_ne!(values(&layer), expected);
    let saved = optimizer.save().unwrap();
    let restored = Optimizer::new(&settings)
        .restore(&saved, &Device::flex())
        .unwrap();
    assert_near(&values(&restored.averaged(layer.clone())), &expected);
    let without = Optimizer::new(&plain);
    assert_eq!(values(&without.averaged(layer.clone())), values(&layer));
}
