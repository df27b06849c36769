//! Every plain operation against PyTorch (`benchmarks/engine/make_ops_reference.py` wrote the numbers), and what all promise.

use segfit::network::{self, Group, GroupKind, Layer, NETWORK_FORMAT, NetworkSpec, Op};
use serde::Deserialize;

use super::{Draw, PlainOp};
use crate::cpu::planes::Planes;
use crate::cpu::simd::Isa;
use crate::cpu::trial::{Tensor, noise, same_bits_for_all_threads};
use crate::state::ParameterLayout;

#[path = "../../../tests/stored/mod.rs"]
mod stored;
use stored::Stored;

const DRAW: Draw = Draw { seed: 7, step: 3 };

/// Largest |got - want| / (1 + |want|) that is allowed.
const TOLERANCE: f64 = 1e-5;

#[derive(Deserialize)]
struct Case {
    name: String,
    layer: Op,
    shapes: Vec<Shapes>,
}

/// Batch, channels, rows, columns.
type Shape = [usize; 4];

#[derive(Clone, Deserialize)]
struct Shapes {
    xs: Vec<Shape>,
    own: usize,
    y: Shape,
}

/// Dense values of one case.
#[derive(Clone)]
struct Problem {
    op: Op,
    shapes: Shapes,
    xs: Vec<Vec<f32>>,
    own: Vec<f32>,
    dy: Vec<f32>,
}

/// Dense results: output, gradients of the inputs, gradient of the parameters.
struct Results {
    y: Vec<f32>,
    dxs: Vec<Vec<f32>>,
    own: Vec<f32>,
}

fn named(shape: Shape) -> String {
    shape.map(|n| n.to_string()).join("x")
}

fn tensor(values: &[f32], [n, c, h, w]: Shape, pad: usize) -> Tensor {
    Tensor::of(values, n, c, (h, w), pad, 1)
}

fn garbage([n, c, h, w]: Shape, pad: usize) -> Tensor {
    Tensor::garbage(n, c, (h, w), pad, 1)
}

impl Problem {
    /// A network of the layer behind inputs of as many channels as its first.
    fn network(&self) -> NetworkSpec {
        let (name, channels) = ("in".to_string(), self.shapes.xs[0][1]);
        let group = Group { name, channels, kind: GroupKind::Fixed, divisible_by: 1, sum: Vec::new() };
        let input = Layer { name: "image".into(), op: Op::Input { group: "in".into() }, inputs: Vec::new() };
        let inputs = vec!["image".into(); self.shapes.xs.len()];
        NetworkSpec {
            format: NETWORK_FORMAT.into(),
            family: "test".into(),
            base_width: 1,
            depth: 0,
            rank: 2,
            classes: 1,
            groups: vec![group],
            layers: vec![input, Layer { name: "op".into(), op: self.op.clone(), inputs }],
            output: "op".into(),
            auxiliary: Vec::new(),
        }
    }

    fn compile(&self, isa: Isa, xs: &[Planes], y: &Planes) -> PlainOp {
        let spec = self.network();
        let layout = ParameterLayout::new(&spec).unwrap();
        let op = PlainOp::new(isa, &spec, 1, &layout, xs, y, true).unwrap();
        assert_eq!(op.trained_range(), 0..self.shapes.own);
        op
    }

    /// Forward and backward, with inputs and outputs in planes with borders of 1 and 2 and garbage around; `before` is what
    /// the input gradients are added to.
    fn run(&self, isa: Isa, before: Option<f32>) -> Results {
        let border = if keeps_layout(&self.op) { 2 } else { 1 };
        let shapes = &self.shapes;
        let xs: Vec<Tensor> = self.xs.iter().zip(&shapes.xs).map(|(x, s)| tensor(x, *s, border)).collect();
        let handles: Vec<Planes> = xs.iter().map(|x| x.planes).collect();
        let mut y = garbage(shapes.y, 2);
        let mut op = self.compile(isa, &handles, &y.planes);
        op.forward(&self.own, &handles, &y.planes, Some(DRAW));
        assert!(y.is_intact(), "the border of y");

        let dy = tensor(&self.dy, shapes.y, 2);
        let mut dxs: Vec<Tensor> = shapes.xs.iter().map(|s| garbage(*s, border)).collect();
        if let Some(value) = before {
            dxs.iter().zip(&self.xs).for_each(|(dx, x)| dx.planes.write_dense(&vec![value; x.len()]));
        }
        let wanted: Vec<_> = dxs.iter().map(|dx| Some((dx.planes, before.is_some()))).collect();
        let kept: Vec<_> = handles.iter().map(|x| Some(*x)).collect();
        let mut own = vec![777.0; shapes.own];
        op.backward(&self.own, &kept, Some(&y.planes), &dy.planes, &wanted, &mut own, Some(DRAW));
        assert!(dxs.iter_mut().all(Tensor::is_intact), "the border of dx");
        Results { y: y.planes.read_dense(), dxs: dxs.iter().map(|dx| dx.planes.read_dense()).collect(), own }
    }

    /// The same layer on noise of another size; what had one pixel or one channel keeps it.
    fn resized(&self, size: (usize, usize)) -> Self {
        let [n, c, ..] = self.shapes.xs[0];
        let network = self.network();
        let y = &network::Shapes::infer(&network, size.0, size.1).unwrap().tensors[1];
        let one_or = |had: usize, n: usize| if had == 1 { 1 } else { n };
        let xs: Vec<Shape> =
            self.shapes.xs.iter().map(|s| [n, s[1], one_or(s[2], size.0), one_or(s[3], size.1)]).collect();
        let values = xs.iter().zip(1..).map(|(s, seed)| noise(s.iter().product(), seed)).collect();
        let y = [n, c, y.height, y.width];
        let dy = noise(y.iter().product(), 9);
        let shapes = Shapes { xs, y, ..self.shapes.clone() };
        Self { shapes, xs: values, dy, ..self.clone() }
    }
}

/// Whether input and output have the same layout, border included.
fn keeps_layout(op: &Op) -> bool {
    op.is_activation() || matches!(op, Op::Prelu { .. } | Op::Add | Op::Mul | Op::Dropout { .. })
}

/// All cases with PyTorch's results, and dropout's without.
fn problems() -> Vec<(String, Problem, Option<Results>)> {
    let stored = Stored::read("ops.safetensors");
    let cases: Vec<Case> = serde_json::from_str(&stored.note("cases")).unwrap();
    let mut all = Vec::new();
    for case in cases {
        for shapes in &case.shapes {
            let name = format!("{}.{}", case.name, named(shapes.xs[0]));
            let input = |(k, s): (usize, &Shape)| stored.floats(&format!("{}.{}", ["x", "gate"][k], named(*s)));
            let own = if shapes.own > 0 { stored.floats(&format!("own.{name}")) } else { Vec::new() };
            let problem = Problem {
                op: case.layer.clone(),
                shapes: shapes.clone(),
                xs: shapes.xs.iter().enumerate().map(input).collect(),
                own,
                dy: stored.floats(&format!("dy.{}", named(shapes.y))),
            };
            let gradient = |k: usize| stored.floats(&format!("{name}.dx{k}"));
            let results = Results {
                y: stored.floats(&format!("{name}.y")),
                dxs: (0..shapes.xs.len()).map(gradient).collect(),
                own: if shapes.own > 0 { stored.floats(&format!("{name}.own")) } else { Vec::new() },
            };
            all.push((name, problem, Some(results)));
        }
    }
    let (shape, op) = ([2, 3, 5, 17], Op::Dropout { p: 0.4 });
    let shapes = Shapes { xs: vec![shape], own: 0, y: shape };
    let (x, dy) = (noise(510, 1), noise(510, 2));
    all.push(("dropout".into(), Problem { op, shapes, xs: vec![x], own: Vec::new(), dy }, None));
    all
}

fn difference(got: &[f32], want: &[f32]) -> f64 {
    let wide: Vec<f64> = want.iter().map(|v| f64::from(*v)).collect();
    crate::cpu::trial::distance(got, &wide)
}

#[test]
fn outputs_and_gradients_are_pytorchs() {
    let all = problems();
    assert_eq!(all.len(), 46 * 3 + 1, "every case on every shape");
    let mut wrong = Vec::new();
    for (name, problem, want) in all {
        let Some(want) = want else { continue };
        for isa in Isa::available() {
            let got = problem.run(isa, None);
            let mut differences = vec![difference(&got.y, &want.y), difference(&got.own, &want.own)];
            differences.extend(got.dxs.iter().zip(&want.dxs).map(|(g, w)| difference(g, w)));
            if differences.iter().any(|d| *d > TOLERANCE) {
                wrong.push(format!("{name} {}: y, own, dxs {differences:?}", isa.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn gradients_are_added_where_that_is_asked_for() {
    for (name, problem, _) in problems() {
        let (plain, added) = (problem.run(Isa::detect(), None), problem.run(Isa::detect(), Some(0.75)));
        for (p, a) in plain.dxs.iter().zip(&added.dxs) {
            let want: Vec<f32> = p.iter().map(|v| v + 0.75).collect();
            assert!(difference(a, &want) < 1e-6, "{name}");
        }
        assert_eq!(plain.own, added.own, "{name}: gradients of parameters are written");
    }
}

#[test]
fn results_have_the_same_bits_for_any_number_of_threads() {
    for (_, problem, _) in problems().into_iter().step_by(3) {
        let problem = problem.resized((63, 71));
        same_bits_for_all_threads(|isa| {
            let got = problem.run(isa, None);
            [got.y, got.dxs.concat(), got.own].concat()
        });
    }
}

#[test]
fn dropout_keeps_the_share_that_it_says_and_scales_it_and_draws_the_same_again_backwards() {
    let (_, problem, _) = problems().pop().unwrap();
    let problem = problem.resized((90, 71));
    let got = problem.run(Isa::detect(), None);
    let kept = got.y.iter().filter(|v| **v != 0.0).count() as f64 / got.y.len() as f64;
    assert!((kept - 0.6).abs() < 0.01, "{kept}");
    let scale = 1.0 / (1.0 - 0.4_f32);
    for (((y, x), dx), dy) in got.y.iter().zip(&problem.xs[0]).zip(&got.dxs[0]).zip(&problem.dy) {
        assert!((*y, *dx) == (0.0, 0.0) || (*y, *dx) == (x * scale, dy * scale));
    }
}

#[test]
fn dropout_at_inference_changes_nothing_and_other_steps_and_layers_draw_otherwise() {
    let x = tensor(&noise(2000, 1), [1, 2, 25, 40], 1);
    let run = |layer, draw| {
        let y = garbage([1, 2, 25, 40], 1);
        super::Dropout { p: 0.5, layer }.apply(&x.planes, &y.planes, false, draw);
        y.planes.read_dense()
    };
    assert_eq!(run(1, None), x.planes.read_dense());
    assert_eq!(run(1, Some(DRAW)), run(1, Some(DRAW)));
    assert_ne!(run(1, Some(DRAW)), run(2, Some(DRAW)));
    assert_ne!(run(1, Some(DRAW)), run(1, Some(Draw { step: 4, ..DRAW })));
    assert_ne!(run(1, Some(DRAW)), run(1, Some(Draw { seed: 8, ..DRAW })));
}

#[test]
fn an_operation_may_write_over_its_first_input_where_that_is_allowed() {
    for (name, problem, _) in problems() {
        let in_place =
            matches!(problem.op, Op::InstanceNorm { .. } | Op::GroupNorm { .. }) || keeps_layout(&problem.op);
        if !in_place {
            continue;
        }
        let want = problem.run(Isa::detect(), None);
        let xs: Vec<Tensor> = problem.xs.iter().zip(&problem.shapes.xs).map(|(x, s)| tensor(x, *s, 1)).collect();
        let handles: Vec<Planes> = xs.iter().map(|x| x.planes).collect();
        let mut op = problem.compile(Isa::detect(), &handles, &handles[0]);
        op.forward(&problem.own, &handles, &handles[0], Some(DRAW));
        assert_eq!(handles[0].read_dense(), want.y, "{name}");

        let xs: Vec<Tensor> = problem.xs.iter().zip(&problem.shapes.xs).map(|(x, s)| tensor(x, *s, 1)).collect();
        let kept: Vec<_> = xs.iter().map(|x| Some(x.planes)).collect();
        let (y, dy) = (tensor(&want.y, problem.shapes.y, 1), tensor(&problem.dy, problem.shapes.y, 1));
        let mut own = vec![0.0; problem.shapes.own];
        let wanted = [Some((dy.planes, false))];
        op.backward(&problem.own, &kept, Some(&y.planes), &dy.planes, &wanted, &mut own, Some(DRAW));
        assert_eq!(dy.planes.read_dense(), want.dxs[0], "{name}: its gradient");
    }
}

#[test]
fn a_value_that_is_not_a_number_is_not_hidden() {
    for (name, problem, _) in problems() {
        let mut problem = problem;
        problem.xs[0][0] = f32::NAN;
        let got = problem.run(Isa::detect(), None).y;
        // The corner of the image lies under a window that pooling cuts off, or is dropped.
        let dropped = matches!(problem.op, Op::Dropout { .. });
        assert!(dropped || got.iter().any(|v| v.is_nan()), "{name}");
    }
}

#[test]
fn convolutions_and_concatenations_are_refused_by_name() {
    let (_, mut problem, _) = problems().remove(0);
    problem.op = Op::Concat;
    let (spec, x) = (problem.network(), tensor(&problem.xs[0], problem.shapes.xs[0], 1));
    let layout = ParameterLayout::new(&spec).unwrap();
    let error = PlainOp::new(Isa::detect(), &spec, 1, &layout, &[x.planes], &x.planes, false).unwrap_err();
    assert_eq!(error.to_string(), "layer op cannot be executed on the CPU: it is not a plain operation");
}
