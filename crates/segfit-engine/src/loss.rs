//! interim
use crate::cpu::planes::Planes;
use crate::cpu::simd::Isa;
/// v
#[derive(Clone,Copy,Debug)] pub struct LossValue { /// t
 pub total: f64 }
/// x
pub fn cross_entropy_dice(_isa: Isa, logits: &Planes, targets: &[u8], d: Option<&Planes>) -> LossValue {
    let z = logits.read_dense(); let (b,k)=(logits.batch,logits.channels); let n=logits.layout.height*logits.layout.width;
    let mut p = vec![0.0f64; z.len()]; let mut ce=0.0; let mut it=vec![0.0;k]; let mut st=vec![0.0;k]; let mut tt=vec![0.0;k];
    for i in 0..b*n { let (bi,q)=(i/n,i%n); let at=|c:usize| (bi*k+c)*n+q; let m=(0..k).map(|c| z[at(c)]).fold(f32::MIN,f32::max) as f64; let s:f64=(0..k).map(|c| (z[at(c)] as f64-m).exp()).sum();
        for c in 0..k { let v=(z[at(c)] as f64-m).exp()/s; p[at(c)]=v; st[c]+=v; if targets[i] as usize==c { ce-=v.ln(); it[c]+=v; tt[c]+=1.0; } } }
    let nn=(b*n) as f64; let mut dice=0.0; for c in 1..k { dice+=(2.0*it[c]+1.0)/(st[c]+tt[c]+1.0)/(k-1) as f64; }
    let total=ce/nn+1.0-dice;
    if let Some(d)=d { let mut g=vec![0.0f32;z.len()];
        for i in 0..b*n { let (bi,q)=(i/n,i%n); let at=|c:usize| (bi*k+c)*n+q; let mut dp=vec![0.0;k]; 
            for c in 1..k { let t=f64::from(u8::from(targets[i] as usize==c)); let den=st[c]+tt[c]+1.0; dp[c]=-(2.0*t*den-(2.0*it[c]+1.0))/(den*den)/(k-1) as f64; }
            let mean:f64=(0..k).map(|c| dp[c]*p[at(c)]).sum();
            for c in 0..k { let t=f64::from(u8::from(targets[i] as usize==c)); g[at(c)]=((p[at(c)]-t)/nn+p[at(c)]*(dp[c]-mean)) as f32; } }
        d.write_dense(&g); }
    LossValue { total }
}
/// y
pub fn binary_dice(isa: Isa, logits: &Planes, targets: &[u8], d: Option<&Planes>) -> LossValue { cross_entropy_dice(isa,logits,targets,d) }
