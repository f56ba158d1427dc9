//! Draws faces with and without masks. They are cartoons, but they vary as photographs
//! do (skin, hair, light, pose, distance, background, noise) and as masks do (colour,
//! shape, pattern), so that a network has to find the mask and nothing simpler.

use image::{Rgb, RgbImage};
use rand::{Rng, RngExt, rngs::StdRng};

/// A colour: red, green and blue, 0 to 1.
type Colour = [f32; 3];

/// A point, x to the right and y down. In the frame of the picture both are -0.5 to 0.5.
/// In the frame of the face the centre of the head is the origin, and the head is about
/// 1 wide and 1.3 high.
type Point = (f32, f32);

/// Draws one face of `side` × `side` pixels, with a mask if it is `masked`.
pub(crate) fn face(masked: bool, side: u32, random: &mut StdRng) -> RgbImage {
    let scene = Scene::draw(masked, random);
    let mut picture = RgbImage::from_fn(side, side, |x, y| {
        // Two by two samples for each pixel smooth the edges.
        let mut sum = [0.0; 3];
        for (dx, dy) in [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)] {
            let at = (
                (x as f32 + dx) / side as f32 - 0.5,
                (y as f32 + dy) / side as f32 - 0.5,
            );
            let colour = scene.colour(at);
            sum.iter_mut()
                .zip(colour)
                .for_each(|(sum, channel)| *sum += channel / 4.0);
        }
        Rgb(sum.map(|channel| (channel.clamp(0.0, 1.0) * 255.0) as u8))
    });
    add_noise(&mut picture, scene.noise, random);
    picture
}

fn add_noise(picture: &mut RgbImage, strength: f32, random: &mut StdRng) {
    for channel in picture.iter_mut() {
        let noise = random.random_range(-strength..strength) * 255.0;
        *channel = (f32::from(*channel) + noise).clamp(0.0, 255.0) as u8;
    }
}

/// Everything that is drawn. It is chosen at random once for each picture.
struct Scene {
    background: Background,
    pose: Pose,
    light: Light,
    skin: Colour,
    lips: Colour,
    hair: Hair,
    clothes: Colour,
    eyes: Colour,
    mouth: Mouth,
    beard: Option<Colour>,
    glasses: Option<Colour>,
    mask: Option<Mask>,
    noise: f32,
}

struct Background {
    top: Colour,
    bottom: Colour,
    blobs: Vec<(Point, f32, Colour)>,
}

/// The position and the direction of the face in the picture.
struct Pose {
    centre: Point,
    size: f32,
    sin: f32,
    cos: f32,
    /// How far the head is turned to a side, which moves its features there.
    turn: f32,
}

struct Light {
    level: f32,
    /// How much brighter the light becomes to the right and downwards.
    slope: Point,
    tint: Colour,
}

struct Hair {
    colour: Colour,
    length: f32,
    fringe: f32,
}

struct Mouth {
    width: f32,
    open: f32,
    smile: f32,
}

struct Mask {
    colour: Colour,
    pattern: Pattern,
    /// The height of its upper edge on the nose.
    nose: f32,
    /// The height of its upper edge on the cheeks.
    cheek: f32,
    /// The height of its lower edge on the chin.
    chin: f32,
    /// Half of its width.
    width: f32,
}

enum Pattern {
    Plain,
    Pleats(Colour),
    Stripes(Colour),
    Dots(Colour),
}

impl Scene {
    fn draw(masked: bool, random: &mut StdRng) -> Self {
        let tone = random.random_range(0.0..1.0);
        let skin = mix([0.96, 0.80, 0.69], [0.30, 0.19, 0.13], tone);
        let hair_colours = [
            [0.08, 0.06, 0.05],
            [0.30, 0.19, 0.10],
            [0.75, 0.60, 0.32],
            [0.55, 0.22, 0.10],
            [0.70, 0.70, 0.70],
        ];
        let hair = hair_colours[random.random_range(0..hair_colours.len())];
        let angle = random.random_range(-0.3f32..0.3);
        Self {
            background: Background::draw(random),
            pose: Pose {
                centre: (
                    random.random_range(-0.1..0.1),
                    random.random_range(-0.08..0.08),
                ),
                size: random.random_range(0.42..0.72),
                sin: angle.sin(),
                cos: angle.cos(),
                turn: random.random_range(-0.12..0.12),
            },
            light: Light {
                level: random.random_range(0.65..1.2),
                slope: (
                    random.random_range(-0.35..0.35),
                    random.random_range(-0.2..0.2),
                ),
                tint: [
                    random.random_range(0.9..1.1),
                    random.random_range(0.95..1.05),
                    random.random_range(0.88..1.1),
                ],
            },
            skin,
            lips: mix(skin, [0.70, 0.16, 0.20], random.random_range(0.3..0.8)),
            hair: Hair {
                colour: hair,
                length: random.random_range(-0.1..0.9),
                fringe: random.random_range(-0.48..-0.30),
            },
            clothes: any_colour(random),
            eyes: mix(
                [0.10, 0.07, 0.05],
                any_colour(random),
                random.random_range(0.0..0.6),
            ),
            mouth: Mouth {
                width: random.random_range(0.13..0.22),
                open: random.random_range(0.012..0.06),
                smile: random.random_range(-0.03..0.07),
            },
            beard: random
                .random_bool(0.25)
                .then(|| mix(hair, skin, random.random_range(0.1..0.5))),
            glasses: random.random_bool(0.2).then(|| any_colour(random)),
            mask: masked.then(|| Mask::draw(random)),
            noise: random.random_range(0.005..0.05),
        }
    }

    /// The colour at a point of the picture.
    fn colour(&self, at: Point) -> Colour {
        let face = self.pose.to_face(at);
        let painted = self
            .painted(face)
            .unwrap_or_else(|| self.background.colour(at));
        let level = self.light.level
            * (1.0 + self.light.slope.0 * at.0 * 2.0 + self.light.slope.1 * at.1 * 2.0);
        std::array::from_fn(|channel| painted[channel] * self.light.tint[channel] * level)
    }

    /// The colour of the person at a point in the face's frame, or `None` where the
    /// background is seen. What lies in front is tried first.
    fn painted(&self, at: Point) -> Option<Colour> {
        // Turning the head moves its features but not its outline.
        let feature = (at.0 - self.pose.turn, at.1);
        let on_head = ellipse(at, (0.0, 0.0), 0.5, 0.65) || ellipse(at, (0.0, 0.25), 0.40, 0.44);
        if on_head {
            let shade = 1.0 - 0.35 * (at.0 * at.0 * 2.0 + (at.1 * at.1) * 0.5);
            let hairline = at.1 < self.hair.fringe + 0.25 * at.0 * at.0;
            let colour = self
                .glasses_at(feature)
                .or_else(|| self.mask.as_ref().and_then(|mask| mask.at(feature)))
                .or_else(|| hairline.then_some(self.hair.colour))
                .or_else(|| self.features_at(feature))
                .unwrap_or(self.skin);
            return Some(scale(colour, shade));
        }
        if let Some(mask) = &self.mask
            && mask.strap_at(at)
        {
            return Some(scale(mask.colour, 0.9));
        }
        let ear = ellipse(at, (-0.51, 0.02), 0.07, 0.13) || ellipse(at, (0.51, 0.02), 0.07, 0.13);
        let hair = ellipse(at, (0.0, -0.12), 0.60, 0.66)
            || (at.0.abs() < 0.58 && at.1 > -0.1 && at.1 < self.hair.length && at.0.abs() > 0.3);
        let neck = at.0.abs() < 0.22 && at.1 > 0.4 && at.1 < 0.95;
        let shoulders = ellipse(at, (0.0, 1.35), 0.95, 0.58);
        if ear {
            Some(scale(self.skin, 0.85))
        } else if hair && at.1 < self.hair.length.max(0.0) {
            Some(scale(
                self.hair.colour,
                0.9 + 0.2 * (at.0 * 40.0).sin() * 0.5,
            ))
        } else if neck {
            Some(scale(self.skin, 0.75))
        } else if shoulders {
            Some(self.clothes)
        } else {
            None
        }
    }

    fn glasses_at(&self, at: Point) -> Option<Colour> {
        let frame = self.glasses?;
        let lens = (at.0.abs() - 0.20, at.1 + 0.06);
        let radius = (lens.0 * lens.0 + lens.1 * lens.1).sqrt();
        let bridge = at.0.abs() < 0.09 && (at.1 + 0.08).abs() < 0.015;
        ((0.105..0.130).contains(&radius) || bridge).then_some(frame)
    }

    fn features_at(&self, at: Point) -> Option<Colour> {
        let mirrored = (at.0.abs(), at.1);
        if ellipse(mirrored, (0.20, -0.06), 0.032, 0.034) {
            return Some(self.eyes);
        }
        if ellipse(mirrored, (0.20, -0.06), 0.085, 0.042) {
            return Some([0.93, 0.92, 0.90]);
        }
        if ellipse(
            mirrored,
            (0.20, -0.19 + 0.15 * (mirrored.0 - 0.2)),
            0.11,
            0.018,
        ) {
            return Some(scale(self.hair.colour, 0.8));
        }
        let lip_line = 0.34 - self.mouth.smile * (at.0 / self.mouth.width).powi(2);
        if at.0.abs() < self.mouth.width {
            let taper = 1.0 - (at.0 / self.mouth.width).powi(2);
            let off = (at.1 - lip_line).abs();
            if off < self.mouth.open * taper * 0.5 {
                return Some([0.25, 0.06, 0.07]);
            }
            if off < self.mouth.open * taper * 0.5 + 0.028 * taper {
                return Some(self.lips);
            }
        }
        if ellipse(mirrored, (0.045, 0.175), 0.022, 0.014) {
            return Some(scale(self.skin, 0.45));
        }
        if ellipse(at, (0.0, 0.06), 0.035, 0.13) {
            return Some(scale(self.skin, 1.08));
        }
        let beard = self.beard?;
        let jaw = at.1 > 0.22 + 0.10 * (1.0 - (at.0 / 0.4).powi(2))
            || ellipse(at, (0.0, 0.265), 0.17, 0.03);
        jaw.then_some(beard)
    }
}

impl Background {
    fn draw(random: &mut StdRng) -> Self {
        let blobs = (0..random.random_range(0..7))
            .map(|_| {
                let centre = (
                    random.random_range(-0.5..0.5),
                    random.random_range(-0.5..0.5),
                );
                (centre, random.random_range(0.04..0.25), any_colour(random))
            })
            .collect();
        Self {
            top: any_colour(random),
            bottom: any_colour(random),
            blobs,
        }
    }

    fn colour(&self, at: Point) -> Colour {
        let blob = self
            .blobs
            .iter()
            .find(|&&(centre, radius, _)| ellipse(at, centre, radius, radius));
        blob.map_or_else(
            || mix(self.top, self.bottom, at.1 + 0.5),
            |&(_, _, colour)| colour,
        )
    }
}

impl Pose {
    fn to_face(&self, at: Point) -> Point {
        let (x, y) = (
            (at.0 - self.centre.0) / self.size,
            (at.1 - self.centre.1) / self.size,
        );
        (x * self.cos + y * self.sin, y * self.cos - x * self.sin)
    }
}

impl Mask {
    fn draw(random: &mut StdRng) -> Self {
        let usual = [
            [0.55, 0.76, 0.88],
            [0.93, 0.94, 0.95],
            [0.10, 0.10, 0.12],
            [0.45, 0.70, 0.60],
        ];
        let colour = if random.random_bool(0.8) {
            usual[random.random_range(0..usual.len())]
        } else {
            any_colour(random)
        };
        let other = mix(colour, any_colour(random), 0.6);
        let pattern = match random.random_range(0..6) {
            0 => Pattern::Plain,
            1 => Pattern::Stripes(other),
            2 => Pattern::Dots(other),
            _ => Pattern::Pleats(scale(colour, 0.82)),
        };
        Self {
            colour,
            pattern,
            nose: random.random_range(-0.02..0.09),
            cheek: random.random_range(0.08..0.18),
            chin: random.random_range(0.55..0.68),
            width: random.random_range(0.40..0.50),
        }
    }

    fn at(&self, at: Point) -> Option<Colour> {
        let across = (at.0 / self.width).abs();
        let upper = self.nose + (self.cheek - self.nose) * (across * 1.3).min(1.0);
        let lower = self.chin - 0.20 * across * across;
        if across > 1.0 || at.1 < upper || at.1 > lower {
            return None;
        }
        let marked = match &self.pattern {
            Pattern::Plain => None,
            Pattern::Pleats(line) => ((at.1 * 9.0).fract().abs() < 0.10).then_some(*line),
            Pattern::Stripes(line) => {
                (((at.0 + at.1) * 10.0).rem_euclid(1.0) < 0.4).then_some(*line)
            }
            Pattern::Dots(dot) => {
                let cell = (
                    (at.0 * 9.0).rem_euclid(1.0) - 0.5,
                    (at.1 * 9.0).rem_euclid(1.0) - 0.5,
                );
                (cell.0 * cell.0 + cell.1 * cell.1 < 0.06).then_some(*dot)
            }
        };
        let edge = at.1 - upper < 0.025;
        Some(marked.unwrap_or(if edge {
            scale(self.colour, 1.08)
        } else {
            self.colour
        }))
    }

    fn strap_at(&self, at: Point) -> bool {
        let out = at.0.abs() - self.width;
        (0.0..0.14).contains(&out) && (at.1 - self.cheek - 0.03 + out * 0.8).abs() < 0.012
    }
}

fn ellipse(at: Point, centre: Point, across: f32, down: f32) -> bool {
    let (x, y) = ((at.0 - centre.0) / across, (at.1 - centre.1) / down);
    x * x + y * y < 1.0
}

fn any_colour(random: &mut impl Rng) -> Colour {
    std::array::from_fn(|_| random.random_range(0.08..0.95))
}

fn mix(one: Colour, other: Colour, share: f32) -> Colour {
    std::array::from_fn(|channel| one[channel] + (other[channel] - one[channel]) * share)
}

fn scale(colour: Colour, by: f32) -> Colour {
    colour.map(|channel| channel * by)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_face() {
        let draw = |seed| face(true, 64, &mut StdRng::seed_from_u64(seed));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn the_mask_alone_differs_between_the_classes() {
        // In the same scene with and without a mask, only the lower half of the face differs.
        let mut scene = Scene::draw(false, &mut StdRng::seed_from_u64(3));
        let bare: Vec<_> = [(0.0, -0.2), (0.0, 0.35)]
            .map(|at| scene.painted(at))
            .into();
        scene.mask = Some(Mask::draw(&mut StdRng::seed_from_u64(4)));
        let masked: Vec<_> = [(0.0, -0.2), (0.0, 0.35)]
            .map(|at| scene.painted(at))
            .into();
        assert_eq!(bare[0], masked[0]);
        assert_ne!(bare[1], masked[1]);
    }
}
