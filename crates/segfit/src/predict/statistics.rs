//! Small exact statistics: rank correlation, the range of a share, and paired tests.

/// Kendall's tau-b (Kendall 1945): concordant minus discordant pairs over the geometric mean of the pairs that are not tied
/// in one and in the other variable; `None` when all are tied in one of them.
pub(crate) fn tau_b(pairs: &[(f64, f64)]) -> Option<f64> {
    let (mut sum, mut first, mut second) = (0.0, 0.0, 0.0);
    for (i, a) in pairs.iter().enumerate() {
        for b in &pairs[..i] {
            let sign = |d: f64| if d.abs() < 1e-12 { 0.0 } else { d.signum() };
            let (x, y) = (sign(a.0 - b.0), sign(a.1 - b.1));
            sum += x * y;
            first += x * x;
            second += y * y;
        }
    }
    (first > 0.0 && second > 0.0).then(|| sum / f64::sqrt(first * second))
}

/// The 95% range of a share of which `hits` of `n` were seen (Clopper and Pearson, Biometrika 1934): the shares under which at
/// least, and at most, so many hits have a probability of 2.5%. (0, 1) for n = 0.
pub(crate) fn clopper_pearson(hits: usize, n: usize) -> [f64; 2] {
    let bisect = |rising: &dyn Fn(f64) -> f64| {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if rising(middle) < 0.0 { low = middle } else { high = middle }
        }
        0.5 * (low + high)
    };
    let low = if hits == 0 { 0.0 } else { bisect(&|p| 1.0 - below(hits, n, p) - 0.025) };
    let high = if hits >= n { 1.0 } else { bisect(&|p| 0.025 - below(hits + 1, n, p)) };
    [low, high]
}

/// Probability of fewer than `hits` of `n` at share `p`.
fn below(hits: usize, n: usize, p: f64) -> f64 {
    let (mut term, mut sum) = ((1.0 - p).powi(n as i32), 0.0);
    for k in 0..hits {
        sum += term;
        term *= (n - k) as f64 / (k + 1) as f64 * p / (1.0 - p).max(1e-300);
    }
    sum
}

/// Most pairs whose signs are enumerated.
const MOST_PAIRS: usize = 20;

/// Two-sided p of Wilcoxon's signed-rank test (Biometrics Bulletin 1945), from all 2^n assignments of signs to the ranks of the
/// differences (mean ranks for ties; zero differences are dropped). `None` with no or more than 20 non-zero differences.
pub(crate) fn wilcoxon(differences: &[f64]) -> Option<f64> {
    let used: Vec<f64> = differences.iter().copied().filter(|d| d.abs() > 1e-12).collect();
    let rank = |d: f64| {
        let below = used.iter().filter(|o| o.abs() < d.abs() - 1e-12).count();
        let same = used.iter().filter(|o| (o.abs() - d.abs()).abs() <= 1e-12).count();
        below as f64 + 0.5 * (same as f64 + 1.0)
    };
    flips(&used.iter().map(|&d| rank(d) * d.signum()).collect::<Vec<_>>())
}

/// Two-sided p that a sum so far from 0 arises when every difference has its sign by chance, from all 2^n signs. `None` with no
/// or more than 20 differences.
pub(crate) fn sign_flip(differences: &[f64]) -> Option<f64> {
    flips(differences)
}

fn flips(values: &[f64]) -> Option<f64> {
    if values.is_empty() || values.len() > MOST_PAIRS {
        return None;
    }
    let seen = values.iter().sum::<f64>().abs();
    let assignments = 1_u32 << values.len();
    let sum =
        |signs: u32| -> f64 { values.iter().enumerate().map(|(i, v)| if signs >> i & 1 == 1 { -v } else { *v }).sum() };
    let tolerance = 1e-12 * values.iter().map(|v| v.abs()).sum::<f64>();
    let extreme = (0..assignments).filter(|&signs| sum(signs).abs() >= seen - tolerance).count();
    Some(extreme as f64 / f64::from(assignments))
}

/// Geometric mean of positive numbers; `None` without any.
pub(crate) fn geometric_mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let logs: Vec<f64> = values.map(f64::ln).collect();
    (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tau_b_by_hand() {
        assert_eq!(tau_b(&[(1.0, 1.0), (2.0, 3.0), (3.0, 2.0)]), Some(1.0 / 3.0), "two concordant, one discordant");
        assert_eq!(tau_b(&[(1.0, 1.0), (1.0, 3.0), (3.0, 4.0)]), Some(2.0 / 6.0_f64.sqrt()), "one tie in x");
        assert_eq!(tau_b(&[(1.0, 1.0), (1.0, 2.0)]), None);
    }

    #[test]
    fn eleven_of_twelve_is_a_share_of_62_to_100_percent() {
        // R: binom.test(11, 12)$conf.int gives 0.6152038 0.9978924; 12 of 12: 0.7353515 1.
        let [low, high] = clopper_pearson(11, 12);
        assert!((low - 0.615_203_8).abs() < 1e-6 && (high - 0.997_892_4).abs() < 1e-6, "{low} {high}");
        let [low, high] = clopper_pearson(12, 12);
        assert!((low - 0.735_351_5).abs() < 1e-6 && high == 1.0, "{low}");
        assert_eq!(clopper_pearson(0, 12)[0], 0.0);
    }

    #[test]
    fn three_gains_of_three_are_significant_at_a_quarter() {
        assert_eq!(wilcoxon(&[0.1, 0.2, 0.3]), Some(0.25), "2 of 8");
        assert_eq!(sign_flip(&[0.1, 0.2, 0.3]), Some(0.25));
        // Ranks 1, 2, -3: |sum| 0 is reached always.
        assert_eq!(wilcoxon(&[0.1, 0.2, -0.3]), Some(1.0));
        assert_eq!(wilcoxon(&[0.0]), None);
        // R: wilcox.test(c(1.83,.5,1.62,2.48,1.68,1.88,1.55,3.06,1.3), c(.878,.647,.598,2.05,1.06,1.29,1.06,3.14,1.29), paired=TRUE)
        let d = [0.952, -0.147, 1.022, 0.43, 0.62, 0.59, 0.49, -0.08, 0.01];
        assert_eq!(wilcoxon(&d), Some(0.0390625));
    }
}
