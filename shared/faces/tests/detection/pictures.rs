//! Pictures in, faces out.

use image::{RgbImage, imageops};
use maskline_faces::FaceDetector;
use maskline_messages::{Face, Point};

use crate::drawn;

/// A drawn face, `side` pixels wide, at this place of a picture.
fn picture(width: u32, height: u32, faces: &[(i64, i64, u32)]) -> RgbImage {
    let mut picture = RgbImage::from_pixel(width, height, drawn::BACKGROUND);
    for &(left, top, side) in faces {
        let face = imageops::resize(&drawn::face(), side, side, imageops::FilterType::CatmullRom);
        imageops::overlay(&mut picture, &face, left, top);
    }
    picture
}

/// Checks that the eyes are where they were drawn, within a share of the drawing.
fn check_eyes(face: &Face, picture: &RgbImage, (left, top, side): (i64, i64, u32)) {
    let (width, height) = picture.dimensions();
    let place = |x: i64, y: i64| {
        let at = |start: i64, offset: i64| start as f32 + offset as f32 * side as f32 / 128.0;
        (at(left, x), at(top, y))
    };
    let check = |point: Point, (x, y): (f32, f32)| {
        let off = (point.x * width as f32 - x).hypot(point.y * height as f32 - y);
        assert!(off < 0.06 * side as f32, "{point:?} is {off} pixels off");
    };
    // The right eye is on the picture's left.
    check(face.key_points.right_eye, place(52, 58));
    check(face.key_points.left_eye, place(76, 58));
}

#[test]
fn a_face_is_found_where_it_is_in_pictures_of_any_shape() {
    let detector = FaceDetector::new().unwrap();
    for (width, height, place) in [
        (128, 128, (0, 0, 128)),
        (640, 480, (100, 20, 440)),
        (300, 500, (10, 150, 280)),
        (96, 80, (10, 0, 80)),
    ] {
        let picture = picture(width, height, &[place]);
        let faces = detector.detect(&picture);
        assert_eq!(faces.len(), 1, "{width} × {height}: {faces:?}");
        let face = &faces[0];
        assert!((0.5..=1.0).contains(&face.score), "{face:?}");
        check_eyes(face, &picture, place);
        let side = face.bounds.side(width, height) / place.2 as f32;
        assert!((0.3..0.7).contains(&side), "{side} of the drawing");
    }
}

#[test]
fn two_faces_are_two() {
    let detector = FaceDetector::new().unwrap();
    let places = [(0, 0, 200), (200, 0, 200)];
    let picture = picture(400, 200, &places);
    let mut faces = detector.detect(&picture);
    assert!(faces.is_sorted_by(|a, b| a.score >= b.score));
    faces.sort_by(|a, b| a.bounds.left.total_cmp(&b.bounds.left));
    assert_eq!(faces.len(), 2, "{faces:?}");
    for (face, place) in faces.iter().zip(places) {
        check_eyes(face, &picture, place);
    }
}

#[test]
fn a_face_that_fills_the_picture_is_found_with_a_border() {
    let detector = FaceDetector::new().unwrap();
    let whole = picture(256, 256, &[(0, 0, 256)]);
    let close = imageops::crop_imm(&whole, 76, 80, 104, 116).to_image();
    let faces = detector.detect(&close);
    assert_eq!(faces.len(), 1, "{faces:?}");
    check_eyes(&faces[0], &close, (-76, -80, 256));
}

#[test]
fn there_is_no_face_where_none_was_drawn() {
    let detector = FaceDetector::new().unwrap();
    let plain = RgbImage::from_pixel(200, 150, drawn::BACKGROUND);
    let checkered = RgbImage::from_fn(200, 150, |x, y| {
        image::Rgb([if (x / 9 + y / 7) % 2 == 0 { 40 } else { 210 }; 3])
    });
    for picture in [plain, checkered, RgbImage::new(0, 0), RgbImage::new(1, 1)] {
        assert_eq!(detector.detect(&picture), []);
    }
}

#[test]
fn the_same_picture_gives_the_same_faces_on_every_thread() {
    let detector = FaceDetector::new().unwrap();
    let picture = picture(300, 300, &[(0, 0, 300)]);
    let expected = detector.detect(&picture);
    std::thread::scope(|scope| {
        let threads = [(); 4].map(|()| scope.spawn(|| detector.detect(&picture)));
        for thread in threads {
            assert_eq!(thread.join().unwrap(), expected);
        }
    });
}
