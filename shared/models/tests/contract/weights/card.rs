//! Tests of cards: what a file says about its network is what the network does.

use maskline_models::temperature::Temperature;

use super::*;

#[test]
fn a_card_names_every_class() {
    let mut card = card();
    card.classes.pop();
    let error = weights::to_safetensors(&network(), &card).unwrap_err();
    let expected = "a network of 2 classes can't be labelled with 1 names";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_card_without_classes_is_refused() {
    let none = changed(|_, metadata| {
        for text in metadata.values_mut() {
            let mut card: serde_json::Value = serde_json::from_str(text).unwrap();
            card["classes"] = serde_json::json!([]);
            *text = card.to_string();
        }
    });
    let refused = refused(&none).to_string();
    assert!(refused.contains("it has no classes"), "{refused}");
}

#[test]
fn a_card_without_a_standardization_has_that_of_imagenet() {
    let old = changed(|_, metadata| {
        for text in metadata.values_mut() {
            let mut card: serde_json::Value = serde_json::from_str(text).unwrap();
            card.as_object_mut().unwrap().remove("input").unwrap();
            *text = card.to_string();
        }
    });
    assert_eq!(
        weights::card(&old).unwrap().input,
        input::Standardization::IMAGENET
    );
}

#[test]
fn a_card_without_a_temperature_leaves_logits_as_they_are() {
    let old = changed(|_, metadata| {
        for text in metadata.values_mut() {
            let mut card: serde_json::Value = serde_json::from_str(text).unwrap();
            card.as_object_mut().unwrap().remove("temperature").unwrap();
            *text = card.to_string();
        }
    });
    assert_eq!(weights::card(&old).unwrap(), card());
    let senseless = changed(|_, metadata| {
        for text in metadata.values_mut() {
            *text = text.replace(r#""temperature":1.0"#, r#""temperature":-1.0"#);
        }
    });
    assert!(matches!(refused(&senseless), ModelError::BadCard(_)));
}

#[test]
fn a_temperature_changes_the_probabilities_and_neither_the_classes_nor_the_weights() {
    let temperature = Temperature::try_from(2.5).unwrap();
    let hot = Card {
        temperature,
        ..card()
    };
    let (file, hot) = (file(), weights::with_card(&file(), &hot).unwrap());
    assert_eq!(weights::card(&hot).unwrap().temperature, temperature);
    let tensors = |file: &[u8]| -> HashMap<String, Vec<u8>> {
        let tensors = SafeTensors::deserialize(file).unwrap();
        let tensors = tensors.iter();
        tensors
            .map(|(name, tensor)| (name.to_owned(), tensor.data().to_vec()))
            .collect()
    };
    assert!(tensors(&file) == tensors(&hot));

    let predict = |file: &[u8]| {
        let classifier = Classifier::load(file, &Device::flex()).unwrap();
        let pictures = pictures(3);
        let inputs: Vec<Input> = pictures
            .iter()
            .map(|picture| classifier.input(picture, &Part::whole(32, 32)))
            .collect();
        classifier.predict(&inputs).unwrap()
    };
    for (raw, tempered) in predict(&file).iter().zip(predict(&hot)) {
        assert_eq!(tempered, raw.tempered(2.5));
        assert_eq!(tempered.class(), raw.class());
        assert!(tempered.confidence() < raw.confidence());
    }
}

#[test]
fn a_network_sees_the_mirror_image_as_its_card_says() {
    let mut values = vec![0; input::len(32)];
    input::write(&pictures(1)[0], 32, &mut values);
    let image = input::tensor(values, 32, &Device::flex());
    let mirrored = image.clone().flip([3]);
    let with = Card {
        mirror_image: true,
        ..card()
    };
    let file = weights::to_safetensors(&network(), &with).unwrap();
    let (both, _) = weights::from_safetensors(&file, &Device::flex()).unwrap();
    let logits = |network: &Network, image: &Tensor<4>| -> Vec<f32> {
        let logits = network.forward(image.clone());
        logits.into_data().iter::<f32>().collect()
    };
    let [one, other] = [&image, &mirrored].map(|image| logits(&network(), image));
    assert_ne!(one, other);
    let mean: Vec<f32> = one.iter().zip(&other).map(|(a, b)| (a + b) / 2.0).collect();
    assert!(difference(&logits(&both, &image), &mean) < 1e-6);
    assert!(difference(&logits(&both, &mirrored), &mean) < 1e-6);
}

#[test]
fn a_network_standardizes_as_its_card_says() {
    let values = vec![128; input::len(32)];
    let image = input::tensor(values, 32, &Device::flex());
    let logits = |input| -> Vec<f32> {
        let file = weights::to_safetensors(&network(), &Card { input, ..card() }).unwrap();
        let (network, card) = weights::from_safetensors(&file, &Device::flex()).unwrap();
        assert_eq!((network.input(), card.input), (input, input));
        network
            .forward(image.clone())
            .into_data()
            .iter::<f32>()
            .collect()
    };
    let (imagenet, unit) = (
        input::Standardization::IMAGENET,
        input::Standardization::SIGNED_UNIT,
    );
    assert_eq!(
        logits(imagenet),
        network()
            .forward(image.clone())
            .into_data()
            .iter::<f32>()
            .collect::<Vec<_>>()
    );
    assert_ne!(logits(imagenet), logits(unit));
}

#[test]
fn a_card_of_values_that_no_network_has_is_refused() {
    let refusal = |change: &dyn Fn(&mut serde_json::Value)| {
        let file = changed(|_, metadata| {
            for text in metadata.values_mut() {
                let mut card = serde_json::from_str(text).unwrap();
                change(&mut card);
                *text = card.to_string();
            }
        });
        refused(&file).to_string()
    };
    for pixels in [0, 31, 1025, 20_000, u32::MAX] {
        let error = refusal(&|card| card["pixels"] = pixels.into());
        let expected = format!("a side of {pixels} pixels, and 32 to 1024 are possible");
        assert!(error.ends_with(&expected), "{error}");
    }
    let error = refusal(&|card| card["classes"][1] = card["classes"][0].clone());
    assert!(
        error.ends_with("it has the class with_mask twice"),
        "{error}"
    );
    for deviation in [0.0, 1e-30, -0.2, 1e30] {
        let error = refusal(&|card| card["input"]["deviation"][1] = deviation.into());
        assert!(error.contains("deviations of"), "{error}");
    }
    let error = refusal(&|card| card["input"]["mean"][0] = (-1e30).into());
    assert!(error.contains("means of"), "{error}");
}

#[test]
fn a_variance_below_0_is_refused() {
    let negative = changed(|tensors, _| {
        let name = tensors.iter().map(|tensor| tensor.0.clone());
        let name = name.into_iter().find(|name| name.ends_with("running_var"));
        find(tensors, &name.unwrap()).3[..4].copy_from_slice(&(-0.5f32).to_le_bytes());
    });
    let error = refused(&negative).to_string();
    assert!(error.contains("variances with values below 0: "), "{error}");
}

#[test]
fn weights_that_make_no_number_are_an_error() {
    let huge = changed(|tensors, _| {
        for (name, value) in [
            ("classifier.0.bias", 3.0),
            ("classifier.3.weight", f32::MAX),
        ] {
            for number in find(tensors, name).3.as_chunks_mut::<4>().0 {
                *number = f32::to_le_bytes(value);
            }
        }
    });
    let classifier = Classifier::load(&huge, &Device::flex()).unwrap();
    let input = classifier.input(&pictures(1)[0], &Part::whole(32, 32));
    let predicted = classifier.predict([&input]);
    assert!(
        matches!(predicted, Err(ModelError::NotANumber)),
        "{predicted:?}"
    );
}
