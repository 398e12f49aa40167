"""Short texts of several kinds on which tokenizers are compared. Written for this purpose; nobody's news.

Each is long enough that one odd word does not decide its figure, and short enough to be read.
"""

from __future__ import annotations

NEWS = """\
The harbour town of Eastwick voted on Tuesday to rebuild its old railway bridge, ending a quarrel that has divided
the council for almost nine years. The plan, which passed by eleven votes to eight, sets aside $42.5 million for a
new steel span, two footpaths and a lift on the northern bank. Work is expected to begin in March and to last for
about thirty months.

"Nobody got everything they wanted," said the mayor, Helen Ortiz, after the session. "But people who live across the
river have waited long enough for a safe way to school." Opponents had argued that the money would be better spent on
the hospital, where nurses have been on strike since early September. The union called the decision "a bridge to
nowhere" and announced a march for Saturday.

Shares of Calder Steel, the likely contractor, rose 3.8% in early trading. Analysts pointed out that the company has
missed two deadlines in the past year, and that prices for plate steel have climbed by a fifth since the spring.
Forecasters expect heavy rain at the weekend, with winds of up to 90 km/h along the coast.
"""

CODE = '''\
from dataclasses import dataclass, field
import heapq


@dataclass(order=True)
class Job:
    """A thing to do, the most urgent first."""

    priority: int
    name: str = field(compare=False)
    retries: int = field(default=0, compare=False)


class Queue:
    def __init__(self, limit=128):
        self._heap, self._limit = [], limit

    def push(self, job: Job) -> None:
        if len(self._heap) >= self._limit:
            raise OverflowError(f"queue is full ({self._limit} jobs)")
        heapq.heappush(self._heap, job)

    def pop(self) -> Job | None:
        return heapq.heappop(self._heap) if self._heap else None


#include <stdio.h>

static int gcd(int a, int b) {
    while (b != 0) {
        int rest = a % b;   /* Euclid */
        a = b;
        b = rest;
    }
    return a;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; ++i) printf("%d: %s\\n", i, argv[i]);
    return gcd(1071, 462) == 21 ? 0 : 1;
}

const total = items.filter(x => x.price > 0).map(x => x.price * x.count).reduce((a, b) => a + b, 0);
SELECT name, COUNT(*) AS n FROM orders WHERE created_at >= '2024-01-01' GROUP BY name HAVING n > 10;
'''

MATHS = r"""
Theorem. There are infinitely many primes.

Proof. Suppose that $p_1, p_2, \ldots, p_n$ are all of them and let $N = p_1 p_2 \cdots p_n + 1$. Since $N > 1$, some
prime $q$ divides $N$. If $q = p_i$ for some $1 \le i \le n$, then $q$ divides both $N$ and $N - 1$, hence their
difference $1$, which is absurd. \qed

For $|x| < 1$ the geometric series gives
\begin{align*}
  \sum_{k=0}^{\infty} x^k &= \frac{1}{1 - x}, &
  \sum_{k=1}^{\infty} k x^{k-1} &= \frac{1}{(1 - x)^2}.
\end{align*}
The roots of $a x^2 + b x + c = 0$ are $x_{1,2} = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}$; for $a = 3$, $b = -14$ and
$c = 8$ the discriminant is $196 - 96 = 100$, so $x_1 = 4$ and $x_2 = \tfrac{2}{3}$. Also $17 \times 23 = 391$,
$2^{16} = 65536$, $\pi \approx 3.14159265$ and $\int_0^1 e^{-x^2}\,dx \approx 0.746824$. Let $f : \mathbb{R} \to
\mathbb{R}$ be continuous; then $\forall \varepsilon > 0\ \exists \delta > 0$ such that ... □
"""

SCIENCE = """\
Photosynthesis turns light into chemical energy. In the thylakoid membranes of the chloroplast, chlorophyll a absorbs
photons at about 430 and 662 nm; the excited electrons pass from photosystem II through plastoquinone and the cytochrome
b6f complex to photosystem I, while protons collect in the lumen. The gradient drives ATP synthase, and ferredoxin
reduces NADP+ to NADPH. In the Calvin cycle the enzyme RuBisCO fixes carbon dioxide to ribulose-1,5-bisphosphate:
6 CO2 + 6 H2O -> C6H12O6 + 6 O2.

Measured rates vary widely. At 25 °C and 400 ppm CO2, leaves of C3 plants assimilate 15 to 25 µmol m⁻² s⁻¹, whereas
maize and other C4 grasses, which concentrate carbon dioxide around the enzyme, reach 40 or more. Above 35 °C
photorespiration takes a growing share. Mitochondrial DNA, ribosomal RNA and lipid peroxidation were assayed in
triplicate (n = 12, p < 0.01, Student's t-test); error bars show one standard deviation.
"""

GERMAN = """\
Am frühen Morgen lag noch Nebel über den Feldern, und die Straßenlaternen brannten, obwohl es längst hell geworden
war. Die Bäckerin öffnete ihr Geschäft wie jeden Tag um halb sechs. Wer zu spät kam, fand nur noch Roggenbrötchen und
ein paar Zwetschgenkuchen vom Vortag. Die Geschwindigkeitsbegrenzung auf der Umgehungsstraße, über die im Gemeinderat
so heftig gestritten worden war, blieb vorerst bestehen; eine Überprüfung ist für das nächste Frühjahr angekündigt.
"""

SPANISH = """\
La biblioteca del pueblo abrió sus puertas en 1934 y desde entonces nunca ha cerrado más de una semana. Cada tarde los
niños hacen allí sus deberes, los jubilados leen el periódico y alguien pregunta, sin falta, por un libro que no está.
¿Quién no recuerda el olor del papel antiguo? El año pasado compraron doce ordenadores, y la señora Núñez, que dirige la
casa desde hace treinta años, todavía prefiere las fichas de cartón.
"""

RUSSIAN = """\
Поезд остановился на маленькой станции, где никто не выходил и никто не садился. За окном шёл снег, и старый начальник
станции в тяжёлой шинели медленно поднял флажок. «Надолго стоим?» — спросил мальчик у своей бабушки. Она пожала плечами:
до города оставалось ещё двести сорок километров, и торопиться было некуда.
"""

CHINESE = """\
清晨的集市已经很热闹了。卖豆腐的老人推着小车，从城东一直走到河边，一路上和熟人打招呼。他说，三十年前这里只有一条土路，
现在高楼和地铁都有了，可是愿意早起做豆腐的年轻人却越来越少。今年秋天，学校请他去给孩子们讲讲怎样把黄豆变成豆腐，
他高兴得一夜没有睡好。
"""

JAPANESE = """\
駅前の小さな喫茶店は、朝七時に開きます。店主の田中さんは豆を挽きながら、常連の客と天気の話をするのが好きです。窓際の
席に座ると、電車がゆっくり通り過ぎるのが見えます。去年の冬、大雪で電車が止まった日には、見知らぬ人たちがここに集まり、
スープを分け合って夜を過ごしました。
"""

KOREAN = """\
할머니의 밭은 산 아래에 있었다. 봄이면 우리는 감자를 심고, 여름이면 옥수수를 땄다. 도시로 이사한 뒤에도 나는 해마다
칠월이 되면 기차를 타고 그 마을로 돌아갔다. 이제 밭에는 새로운 도서관이 들어섰지만, 마당에 있던 오래된 감나무는 아직도
그대로 남아 있다.
"""

ARABIC = """\
في كل صباح يفتح الخباز دكانه الصغير قبل شروق الشمس، فتمتلئ الحارة برائحة الخبز الساخن. يأتي الأطفال في طريقهم إلى
المدرسة، ويقف الشيوخ قليلاً ليتبادلوا الأخبار. قال لي مرة إن جده بنى هذا الفرن بيديه منذ أكثر من ثمانين عاماً، وإن ناره
لم تنطفئ منذ ذلك اليوم.
"""

HINDI = """\
गाँव के बाहर एक पुराना बरगद का पेड़ है, जिसके नीचे हर शाम लोग इकट्ठा होते हैं। बच्चे वहाँ खेलते हैं और बुज़ुर्ग पुराने दिनों की
कहानियाँ सुनाते हैं। पिछले साल जब सड़क चौड़ी करने के लिए पेड़ काटने की बात हुई, तो सबने मिलकर विरोध किया, और आख़िरकार सड़क का
रास्ता बदल दिया गया।
"""

PASSAGES: dict[str, str] = {
    "news": NEWS,
    "code": CODE,
    "maths": MATHS,
    "science": SCIENCE,
    "German": GERMAN,
    "Spanish": SPANISH,
    "Russian": RUSSIAN,
    "Chinese": CHINESE,
    "Japanese": JAPANESE,
    "Korean": KOREAN,
    "Arabic": ARABIC,
    "Hindi": HINDI,
}
"""By name, in the order of a table."""
