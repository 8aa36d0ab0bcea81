"""Signed products of bytes: one register after the multiplication, in fabric or inside a DSP block."""

from amaranth import Cat, ClockSignal, Const, Instance, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

BACKENDS = ("generic", "ecp5", "ice40")


class Products(wiring.Component):
    """`p[k] = a[k] * b[k]` for signed bytes, or one of 9 bits and a byte, a cycle later.

    A free-running pipeline: every cycle takes operands and gives the products of the operands `latency` cycles ago.
    All back ends have the same latency, so a machine takes the same cycles whatever it is built for.
    It does not promise any value in the first `latency` cycles.

    Parameters
    ----------
    count: products a cycle, at least 1.
    backend: "generic" (plain multiplication, any target and simulator), "ecp5" (one `MULT18X18D` a product, its output
        register used), "ice40" (one `SB_MAC16` in its dual 8x8 mode every two products, its product registers used).
    a_bits: bits of `a`, 8 or 9; "ice40" has 8 only.

    Members
    -------
    a, b: operands; `a` with 9 bits is from -255 to 255. p: products, 16 bits each, exact (-128 * -128 and -255 * -128
    included).

    Attributes
    ----------
    latency: cycles from operands to products.
    """

    latency = 1

    def __init__(self, count: int, backend: str = "generic", a_bits: int = 8) -> None:
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count}")
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, not {backend!r}")
        if a_bits not in (8, 9) or (a_bits == 9 and backend == "ice40"):
            raise ValueError(f"a_bits must be 8, or 9 with another backend than ice40, not {a_bits} with {backend}")
        self.count = count
        self.backend = backend
        super().__init__({
            "a": In(data.ArrayLayout(signed(a_bits), count)),
            "b": In(data.ArrayLayout(signed(8), count)),
            "p": Out(data.ArrayLayout(signed(16), count)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        {"generic": self._generic, "ecp5": self._ecp5, "ice40": self._ice40}[self.backend](m)
        return m

    def _generic(self, m: Module) -> None:
        products = Signal(self.p.shape(), reset_less=True)
        m.d.sync += [products[k].eq(self.a[k] * self.b[k]) for k in range(self.count)]
        m.d.comb += self.p.eq(products)

    def _ecp5(self, m: Module) -> None:
        for k in range(self.count):
            a, b, product = Signal(signed(18)), Signal(signed(18)), Signal(36)
            m.d.comb += [a.eq(self.a[k]), b.eq(self.b[k]), self.p[k].eq(product[:16])]
            buses = {"i_A": a, "i_B": b, "i_C": Const(0, 18), "o_P": product}
            ports = {f"{name}{bit}": wire for name, bus in buses.items() for bit, wire in enumerate(bus)}
            m.submodules[f"multiplier{k}"] = Instance(
                "MULT18X18D",
                p_REG_INPUTA_CLK="NONE", p_REG_INPUTB_CLK="NONE", p_REG_INPUTC_CLK="NONE", p_REG_PIPELINE_CLK="NONE",
                p_REG_OUTPUT_CLK="CLK0", p_REG_OUTPUT_CE="CE0", p_REG_OUTPUT_RST="RST0",
                p_CLK0_DIV="ENABLED", p_HIGHSPEED_CLK="NONE", p_GSR="DISABLED", p_CAS_MATCH_REG="FALSE",
                p_SOURCEB_MODE="B_SHIFT", p_MULT_BYPASS="DISABLED", p_RESETMODE="SYNC",
                i_SIGNEDA=Const(1, 1), i_SIGNEDB=Const(1, 1), i_SOURCEA=Const(0, 1), i_SOURCEB=Const(0, 1),
                i_CLK0=ClockSignal(), i_CE0=Const(1, 1), i_RST0=Const(0, 1), **ports)

    def _ice40(self, m: Module) -> None:
        unused = {name: Const(0, 16 if len(name) == 1 else 1) for name in (
            "C", "D", "AHOLD", "BHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT", "OLOADTOP",
            "OLOADBOT", "ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT", "CI", "ACCUMCI", "SIGNEXTIN")}
        for k in range(0, self.count, 2):
            pair = range(k, min(k + 2, self.count))
            a, b, products = Signal(16), Signal(16), Signal(32)
            m.d.comb += [a.eq(Cat(self.a[i] for i in pair)), b.eq(Cat(self.b[i] for i in pair))]
            m.d.comb += [self.p[i].eq(products.word_select(i - k, 16)) for i in pair]
            m.submodules[f"multipliers{k}"] = Instance(
                "SB_MAC16",
                p_MODE_8x8=Const(1, 1), p_A_SIGNED=Const(1, 1), p_B_SIGNED=Const(1, 1),
                p_TOP_8x8_MULT_REG=Const(1, 1), p_BOT_8x8_MULT_REG=Const(1, 1),
                p_TOPOUTPUT_SELECT=Const(2, 2), p_BOTOUTPUT_SELECT=Const(2, 2),  # the 8x8 products
                i_CLK=ClockSignal(), i_CE=Const(1, 1), i_A=a, i_B=b, o_O=products,
                **{f"i_{name}": value for name, value in unused.items()})
