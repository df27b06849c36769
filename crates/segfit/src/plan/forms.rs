//! Exact costs as polynomials: what one width vector costs without building its network.
//!
//! The channels of every tensor are a constant plus whole multiples of the channels of free groups (a derived group is a
//! sum of others). A convolution's weights are a number per pair of an input and an output channel, its work too; everything else
//! is a number per output channel. So parameters, weight bytes and multiply-accumulates are polynomials of degree two in
//! the free channels, and are put together here from the network's own counts, layer by layer.

use crate::cost::layer_macs;
use crate::error::Result;
use crate::network::{GroupKind, NetworkSpec, Op, Parameter, ParameterKind, Shapes};
use crate::predict::{Cell, Place, SizeFeatures, layer_places};

use super::weights::Precision;

/// Costs and size of all width vectors of one network. Vectors have one number per free group, in the order of the groups.
#[derive(Clone, Debug)]
pub(super) struct Forms {
    /// Trained values.
    pub params: Quadratic,
    /// Multiply-accumulates for one image.
    pub macs: Quadratic,
    /// Bytes of the stored weights.
    pub weight_bytes: Quadratic,
    /// The free groups of the convolutions of every place, in the order of the layers.
    cells: Vec<(Place, Vec<usize>)>,
}

/// A polynomial of degree two with whole coefficients, over a common divisor.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Quadratic {
    constant: u64,
    linear: Vec<(usize, u64)>,
    pairs: Vec<(usize, usize, u64)>,
    divisor: u64,
}

impl Quadratic {
    /// The value at `channels`.
    pub(super) fn at(&self, channels: &[usize]) -> u64 {
        let linear: u64 = self.linear.iter().map(|&(g, k)| k * channels[g] as u64).sum();
        let pairs: u64 = self.pairs.iter().map(|&(g, h, k)| k * channels[g] as u64 * channels[h] as u64).sum();
        (self.constant + linear + pairs) / self.divisor
    }
}

impl Forms {
    /// The forms of `full` narrowed in any way, for images of `size` x `size` pixels.
    ///
    /// # Errors
    /// When the network does not fit together.
    pub(super) fn of(full: &NetworkSpec, size: usize, precision: Precision) -> Result<Self> {
        let free: Vec<&str> =
            full.groups.iter().filter(|g| g.kind == GroupKind::Free).map(|g| g.name.as_str()).collect();
        let deployed = full.without_auxiliary();
        let shapes = deployed.smallest_shapes()?;
        let tensors = Tensors::of(&deployed, &shapes, &free);
        let (mut params, mut weights) = (Sum::default(), Sum::default());
        for parameter in deployed.parameters()? {
            let (each, channel) = precision.bytes(parameter.kind);
            if parameter.kind.is_trained() {
                tensors.add_parameter(&mut params, &deployed, &parameter, 1);
            }
            tensors.add_parameter(&mut weights, &deployed, &parameter, each);
            if channel > 0 {
                weights.add(channel, 1, &tensors.output(parameter.layer), None);
            }
        }
        let mut macs = Sum::default();
        let size = size.max(1).next_multiple_of(deployed.input_multiple());
        for (i, count) in layer_macs(&deployed, size)?.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            let depthwise = matches!(deployed.layers[i].op, Op::DepthwiseConv2d { .. });
            tensors.add_share(&mut macs, i, count, !depthwise, 1);
        }
        let [params, macs, weight_bytes] = [params, macs, weights].map(|sum| sum.polynomial(free.len()));
        Ok(Self { params, macs, weight_bytes, cells: cells(full, &free)? })
    }

    /// The size of the network with these channels, the same bits as [`SizeFeatures::of`] gives, but for the shares of work,
    /// which are 0.
    pub(super) fn size(&self, channels: &[usize], params: u64) -> SizeFeatures {
        let cell = |(place, groups): &(Place, Vec<usize>)| {
            let scale = (1_u64 << place.scale) as f64;
            let sum: f64 = groups.iter().map(|&g| (channels[g] as f64 / scale).log2()).fold(0.0, |sum, x| sum + x);
            Cell { place: *place, log2_width: sum / groups.len() as f64, macs_share: 0.0 }
        };
        SizeFeatures::from_cells(self.cells.iter().map(cell).collect(), params)
    }
}

fn cells(full: &NetworkSpec, free: &[&str]) -> Result<Vec<(Place, Vec<usize>)>> {
    let shapes = full.smallest_shapes()?;
    let mut cells: std::collections::BTreeMap<Place, Vec<usize>> = std::collections::BTreeMap::new();
    for (layer, place) in full.layers.iter().zip(layer_places(full, &shapes)) {
        let group = layer.op.group().and_then(|name| free.iter().position(|f| *f == name));
        if let (Some(place), Some(group)) = (place, group) {
            cells.entry(place).or_default().push(group);
        }
    }
    Ok(cells.into_iter().collect())
}

/// A constant plus multiples of free channels.
#[derive(Clone, Debug, Default)]
struct Affine {
    constant: u64,
    terms: Vec<(usize, u64)>,
}

/// The channels of all tensors.
struct Tensors<'a> {
    shapes: &'a Shapes,
    /// Channels of every group of the network.
    groups: Vec<Affine>,
}

impl<'a> Tensors<'a> {
    fn of(spec: &NetworkSpec, shapes: &'a Shapes, free: &[&str]) -> Self {
        let plain = |name: &str, multiple: u64| match (free.iter().position(|f| *f == name), spec.group(name)) {
            (Some(index), _) => Affine { constant: 0, terms: vec![(index, multiple)] },
            (None, group) => Affine { constant: group.map_or(0, |g| g.channels as u64) * multiple, terms: Vec::new() },
        };
        let groups = spec.groups.iter().map(|group| {
            let mut channels = Affine::default();
            match group.kind {
                GroupKind::Derived => {
                    group.sum.iter().for_each(|s| channels.add(&plain(&s.group, s.multiple as u64), 1));
                }
                _ => channels = plain(&group.name, 1),
            }
            channels
        });
        Self { shapes, groups: groups.collect() }
    }

    /// Channels of the output of a layer.
    fn output(&self, layer: usize) -> Affine {
        let mut channels = Affine::default();
        for segment in &self.shapes.tensors[layer].segments {
            channels.add(&self.groups[segment.group], segment.multiple as u64);
        }
        channels
    }

    /// Adds `times` the values of a parameter.
    fn add_parameter(&self, sum: &mut Sum, spec: &NetworkSpec, parameter: &Parameter, times: u64) {
        let op = &spec.layers[parameter.layer].op;
        let is_weight = parameter.kind == ParameterKind::Weight;
        match op {
            Op::Prelu { shared: true } => sum.constant += times,
            Op::Conv2d { .. } | Op::ConvTranspose2d { .. } if is_weight => {
                self.add_share(sum, parameter.layer, parameter.len() as u64, true, times);
            }
            _ => self.add_share(sum, parameter.layer, parameter.len() as u64, false, times),
        }
    }

    /// Adds `times` a count that is in proportion to the output channels and, where `joins`, to the input channels.
    fn add_share(&self, sum: &mut Sum, layer: usize, count: u64, joins: bool, times: u64) {
        let output = self.output(layer);
        let mut each = self.shapes.tensors[layer].channels as u64;
        let input = self.shapes.inputs[layer].first().filter(|_| joins).map(|&i| {
            each *= self.shapes.tensors[i].channels as u64;
            self.output(i)
        });
        let common = divisor(count, each);
        sum.add(times * (count / common), each / common, &output, input.as_ref());
    }
}

impl Affine {
    fn add(&mut self, other: &Self, times: u64) {
        self.constant += other.constant * times;
        for &(group, k) in &other.terms {
            match self.terms.iter_mut().find(|t| t.0 == group) {
                Some(term) => term.1 += k * times,
                None => self.terms.push((group, k * times)),
            }
        }
    }
}

/// Products of channels that are to become one polynomial.
#[derive(Default)]
struct Sum {
    constant: u64,
    /// Numerator and denominator of the factor; output and input channels.
    products: Vec<(u64, u64, Affine, Affine)>,
}

impl Sum {
    fn add(&mut self, numerator: u64, denominator: u64, output: &Affine, input: Option<&Affine>) {
        let one = || Affine { constant: 1, terms: Vec::new() };
        self.products.push((numerator, denominator, output.clone(), input.cloned().unwrap_or_else(one)));
    }

    fn polynomial(self, free: usize) -> Quadratic {
        let common = self.products.iter().fold(1, |c, p| c / divisor(c, p.1) * p.1);
        let mut constant = self.constant * common;
        let mut linear = vec![0; free];
        let mut pairs: std::collections::BTreeMap<(usize, usize), u64> = std::collections::BTreeMap::new();
        for (numerator, denominator, a, b) in &self.products {
            let k = numerator * (common / denominator);
            constant += k * a.constant * b.constant;
            a.terms.iter().for_each(|&(g, m)| linear[g] += k * m * b.constant);
            b.terms.iter().for_each(|&(g, m)| linear[g] += k * m * a.constant);
            for &(g, m) in &a.terms {
                b.terms.iter().for_each(|&(h, n)| *pairs.entry((g.min(h), g.max(h))).or_default() += k * m * n);
            }
        }
        Quadratic {
            constant,
            linear: linear.into_iter().enumerate().filter(|(_, k)| *k > 0).collect(),
            pairs: pairs.into_iter().map(|((g, h), k)| (g, h, k)).collect(),
            divisor: common,
        }
    }
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost;
    use crate::network::Widths;
    use crate::network::families::{self, FAMILIES, Options, unet};
    use crate::plan::weights::weight_bytes;
    use proptest::prelude::*;

    #[test]
    fn the_smallest_unet_is_a_polynomial_by_hand() {
        // Depth 1; a, b, c, d channels of enc0, enc1, up0, dec0, gray images, two classes. 3x3 convolutions without bias
        // would have 9 (a + aa + ab + bb + (a + c) d + dd), the transposed one 4 bc, the head 2 d + 2; every output channel of
        // the blocks has a bias, a scale and a shift: 3 (2a + 2b + c + 2d).
        let net = unet(&Options { in_channels: 1, base_width: 1, depth: 1, ..Options::default() }).unwrap();
        let forms = Forms::of(&net, 2, Precision::F32).unwrap();
        let names: Vec<_> = net.groups.iter().filter(|g| g.kind == GroupKind::Free).map(|g| g.name.clone()).collect();
        let of = |a: usize, b: usize, c: usize, d: usize| {
            let channels = names.iter().map(|n| match n.as_str() {
                "enc0" => a,
                "enc1" => b,
                "up0" => c,
                _ => d,
            });
            forms.params.at(&channels.collect::<Vec<_>>())
        };
        assert_eq!(of(1, 2, 1, 1), 138);
        let (a, b, c, d) = (3, 5, 2, 7);
        let weights = 9 * (a + a * a + a * b + b * b + (a + c) * d + d * d) + 4 * b * c + 2 * d + 2;
        assert_eq!(of(a, b, c, d), (weights + 3 * (2 * a + 2 * b + c + 2 * d)) as u64);
    }

    /// A family's full network of base width `width`, and channels of all free groups that it accepts.
    fn narrowed(
        family: usize,
        width: usize,
        depth: usize,
        draws: &[f64],
        supervised: bool,
    ) -> (NetworkSpec, Vec<usize>) {
        let family = FAMILIES[family];
        let plain = Options { base_width: width, depth: depth.min(family.deepest), ..family.options(3, 2) };
        let options = Options { deep_supervision: supervised, ..plain };
        let full = family.build(&options).or_else(|_| family.build(&plain)).unwrap();
        let multiples = full.channel_multiples().unwrap();
        let free = full.groups.iter().zip(multiples).filter(|(g, _)| g.kind == GroupKind::Free);
        let channels = free.enumerate().map(|(i, (group, multiple))| {
            let steps = (group.channels / multiple).max(1);
            multiple * (1 + (draws[i % draws.len()] * steps as f64) as usize).min(steps)
        });
        (full.clone(), channels.collect())
    }

    fn widths(full: &NetworkSpec, channels: &[usize]) -> Widths {
        let free = full.groups.iter().filter(|g| g.kind == GroupKind::Free);
        free.zip(channels).map(|(g, &c)| (g.name.clone(), c)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn forms_are_the_counts_of_the_network_that_is_built(
            family in 0..FAMILIES.len(), width in 1_usize..20, depth in 1_usize..5, size in 16_usize..100,
            draws in prop::collection::vec(0.0..1.0_f64, 7), supervised: bool, precision in 0..3_usize,
        ) {
            let (full, channels) = narrowed(family, width, depth, &draws, supervised);
            let precision = [Precision::F32, Precision::F16, Precision::Int8][precision];
            let forms = Forms::of(&full, size, precision).unwrap();
            let spec = full.with_widths(&widths(&full, &channels)).unwrap();
            let params = forms.params.at(&channels);
            prop_assert_eq!(params, cost::parameters(&spec).unwrap());
            let accepted = size.next_multiple_of(spec.without_auxiliary().input_multiple());
            prop_assert_eq!(forms.macs.at(&channels), cost::macs(&spec, accepted).unwrap());
            prop_assert_eq!(forms.weight_bytes.at(&channels), weight_bytes(&spec, precision).unwrap());
            let (fast, slow) = (forms.size(&channels, params), SizeFeatures::of(&spec).unwrap());
            prop_assert_eq!((fast.log2_width, fast.slope), (slow.log2_width, slow.slope));
            prop_assert_eq!((fast.decoder_ratio, fast.depth), (slow.decoder_ratio, slow.depth));
            prop_assert_eq!(fast.log2_params, slow.log2_params);
            let cells = |s: &SizeFeatures| s.cells.iter().map(|c| (c.place, c.log2_width)).collect::<Vec<_>>();
            prop_assert_eq!(cells(&fast), cells(&slow));
        }
    }

    #[test]
    fn grouped_convolutions_are_counted_exactly() {
        let mut net =
            unet(&Options { in_channels: 4, base_width: 8, depth: 1, ..families::Options::default() }).unwrap();
        let conv = net.layers.iter_mut().find(|l| matches!(l.op, Op::Conv2d { .. }) && l.name.starts_with("enc1"));
        if let Op::Conv2d { groups, .. } = &mut conv.unwrap().op {
            *groups = 4;
        }
        let forms = Forms::of(&net, 16, Precision::F32).unwrap();
        for channels in [4_usize, 8] {
            let widths: Widths = net.widths().into_keys().map(|name| (name, channels)).collect();
            let spec = net.with_widths(&widths).unwrap();
            let vector = vec![channels; widths.len()];
            assert_eq!(forms.params.at(&vector), cost::parameters(&spec).unwrap());
            assert_eq!(forms.macs.at(&vector), cost::macs(&spec, 16).unwrap());
        }
    }
}
