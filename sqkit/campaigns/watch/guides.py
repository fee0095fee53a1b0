"""Do orders fall where guides left: the customers of guides who left against those of guides who stayed, before and after."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from sqkit.campaigns.watch.alarm import MONTH_DAYS, NONE, Alarm, Estimate, Fit, given, tail, two_way
from sqkit.reading import Reading, remembered

__all__ = ["FINDING", "NEEDS", "check"]

FINDING = "orders_fall_where_guides_left"
NEEDS = ("staff", "staff.left_at", "orders.member_id", "members", "members.guide_staff_id")
WEEKS = 30
AFTER = 91  # days after a guide left in which the customers are watched
WAVES = (7, 14)  # days within which departures count as one wave
LEAST_LEFT = 3  # books whose guide left
LEAST_STAYED = 5
LEAST_ORDERS = 200
LEAST_MEMBERS = 10  # of a book
SETTLED = 30  # days since joining from which a member counts: first orders have rules of their own
BINS = ((-12, -9), (-8, -5), (-4, -1), (0, 3), (4, 7), (8, 12))  # weeks from the departure, for the chart


@dataclass(frozen=True)
class _Panel:
    cells: pd.DataFrame  # book, store_id, age (weeks back), orders, after (share of the week since the guide left), lead
    left: pd.DataFrame  # book, store_id, left_on: departures that are watched
    value_fen: float


@remembered
def check(reading: Reading) -> Alarm:
    """Look for orders that fell where guides left, in the last 91 days.

    A book is the members of one guide. Members carry their guide of today; where a successor has taken over, the guide who
    left is known from the members' earlier orders. Poisson counts of orders a book and week, by members who had joined 30
    days before, relative to their number, with a level per book and per week: the change of the books whose guide left,
    against those whose guide stayed (difference in differences); books are the clusters. If more guides left within 7 or 14
    days than their usual pace explains, that wave is what is measured (where two or more of a store left, if there are such
    stores), else all who left. Weeks after other departures are left out. Causal as far as books would have moved alike
    without it, and said so only where they did before (``facts["ahead"]``: their difference in weeks 5 to 12 before against
    the last four).

    Returns
    -------
    Alarm
        ``effect``: multiple of orders; ``loss``: orders a month, over the last four weeks; ``money``: fen a month. ``facts``:
        ``n_left`` (books), ``n_books``, ``error``, ``df`` (of the logarithm), ``departures`` (days), ``is_wave``, ``p_wave``,
        ``ahead`` (Estimate), ``within`` (the effect against books of the same store and week, Estimate), ``last_on``.
        ``series``: weeks from the departure, multiple, low, high. Smallest sample: 3 books left, 5 that were not, 200 orders.
    """
    lacks = tuple(reading.source.missing(*NEEDS))
    if lacks:
        return Alarm("guides", FINDING, "missing", missing=lacks)
    books, departures = _books(reading), _departures(reading)
    recent = departures[departures.left_on > reading.as_of - timedelta(days=AFTER)] if len(departures) else departures
    if len(recent) < LEAST_LEFT:
        reason = "few_left" if len(books) else "no_books"
        return Alarm(
            "guides", FINDING, "not_enough_data", reason=reason, n_clusters=books.book.nunique(), facts={"n_left": len(recent)}
        )
    is_wave, p_wave, inside = _wave(departures, recent, reading.as_of)
    if is_wave:
        several = inside & (recent[inside].groupby("store_id").book.nunique().reindex(recent.store_id).fillna(0).to_numpy() > 1)
        inside = several if recent[several].book.nunique() >= LEAST_LEFT else inside
    watched = recent[inside] if is_wave else recent
    others = departures.drop(watched.index)
    watched = watched.sort_values("left_on").groupby("book", as_index=False).first()
    panel = _panel(reading, watched, others)
    cells = panel.cells
    treated = cells[cells.after > 0].book.nunique() if len(cells) else 0
    stayed = cells[~cells.book.isin(watched.book)].book.nunique() if len(cells) else 0
    if treated < LEAST_LEFT or stayed < LEAST_STAYED or cells.orders.sum() < LEAST_ORDERS:
        return Alarm(
            "guides", FINDING, "not_enough_data", reason="few_books", n_clusters=treated + stayed, facts={"n_left": treated}
        )
    fit = _fit(cells, ["after"])
    if fit is None:
        return Alarm(
            "guides", FINDING, "not_enough_data", reason="few_books", n_clusters=treated + stayed, facts={"n_left": treated}
        )
    df = min(treated, stayed) - 1.0
    inflated = fit.covariance * treated / max(treated - 1, 1)
    fit = Fit(fit.coefficients, inflated, df, fit.floor)
    error = fit.error()
    effect = fit.estimate().exp()
    p = tail(-fit.coefficients[0] / error, df)
    now = cells[(cells.after > 0) & (cells.age < 4)]
    if now.empty:
        now = cells[cells.after > 0]
    monthly = (now.orders * now.after).sum() / now.age.nunique() * MONTH_DAYS / 7
    loss = Estimate(*(monthly * (1 / m - 1) for m in (effect.value, effect.high, effect.low)))
    within = _fit(cells, ["after"], by_store=True)
    ahead = _fit(cells[cells.after == 0], ["lead"])
    early = NONE if ahead is None else ahead.estimate(df=df).exp()
    return Alarm(
        "guides",
        FINDING,
        "not_found",
        p=p,
        since=watched.left_on.min(),
        stores=tuple(watched.groupby("store_id").book.count().sort_values(ascending=False, kind="stable").index),
        effect=effect,
        loss=loss,
        money=loss.times(panel.value_fen),
        is_causal=not (early.is_told and not early.low <= 1 <= early.high),
        n=int(cells.orders.sum()),
        n_clusters=treated + stayed,
        facts={
            "n_left": treated,
            "n_books": treated + stayed,
            "error": error,
            "df": df,
            "is_wave": is_wave,
            "p_wave": p_wave,
            "last_on": watched.left_on.max(),
            "ahead": early,
            "departures": tuple(watched.left_on),
            "within": NONE if within is None else within.estimate(df=df).exp(),
        },
        series=_course(cells, df),
    )


def _books(reading: Reading) -> pd.DataFrame:
    """Create the table `watch_books` (member_id, book, store_id) and return its sizes.

    Members whose guide left without a successor have no guide: those of a store are one book (who bought from whom last would
    make books of buyers only, whose orders fall back by themselves). Ids with more than 5% of all orders are tills, not
    members.
    """
    store = "AND m.home_store_id = $store" if reading.store else ""
    sql = f"""
    CREATE OR REPLACE TEMP TABLE watch_books AS
    WITH heavy AS (SELECT member_id FROM order_facts WHERE member_id IS NOT NULL GROUP BY 1
              HAVING count(*) > 0.05 * (SELECT count(member_id) FROM order_facts) AND count(*) > 50)
    SELECT m.member_id, coalesce(m.guide_staff_id, concat('none:', m.home_store_id)) AS book,
           coalesce(m.home_store_id, '') AS store_id
    FROM members AS m
    WHERE (m.guide_staff_id IS NOT NULL OR m.home_store_id IS NOT NULL) AND m.member_id NOT IN (SELECT member_id FROM heavy)
      {store}
    """
    reading.engine.execute(sql, given(reading))
    return reading.engine.execute("SELECT book, count(*) AS n FROM watch_books GROUP BY 1 ORDER BY 1").df()


def _departures(reading: Reading) -> pd.DataFrame:
    """Books and the days on which a guide of theirs left: their own, or a predecessor known from their members' orders."""
    before = (
        """SELECT o.guide_staff_id AS staff_id, b.book, count(DISTINCT o.member_id) AS n
            FROM orders AS o JOIN watch_books AS b ON b.member_id = o.member_id
            WHERE o.guide_staff_id IS NOT NULL AND o.guide_staff_id <> b.book GROUP BY 1, 2"""
        if not reading.source.missing("orders.guide_staff_id")
        else "SELECT CAST(NULL AS VARCHAR) AS staff_id, CAST(NULL AS VARCHAR) AS book, 0 AS n WHERE FALSE"
    )
    sql = f"""
    WITH served AS ({before}),
    named AS (
        SELECT staff_id, book FROM (
            SELECT *, row_number() OVER (PARTITION BY staff_id ORDER BY n DESC, book) AS place,
                   sum(n) OVER (PARTITION BY staff_id) AS total
            FROM served) AS s
        WHERE place = 1 AND n >= 0.6 * total AND n >= 5
        UNION SELECT DISTINCT book, book FROM watch_books WHERE book NOT LIKE 'none:%'
    ),
    sizes AS (SELECT book, mode(store_id) AS store_id, count(*) AS n_members FROM watch_books GROUP BY 1)
    SELECT n.book, s.store_id, CAST(f.left_at AS DATE) AS left_on
    FROM named AS n JOIN staff AS f ON f.staff_id = n.staff_id JOIN sizes AS s ON s.book = n.book
    WHERE f.left_at IS NOT NULL AND s.n_members >= {LEAST_MEMBERS}
    ORDER BY left_on, n.book
    """
    found = reading.engine.execute(sql).df()
    return found.assign(left_on=pd.to_datetime(found.left_on).dt.date)


def _wave(departures: pd.DataFrame, recent: pd.DataFrame, as_of: date) -> tuple[bool, float, np.ndarray]:
    """Return whether more guides left at once within the last 91 days than their usual pace explains, the p-value, and which.

    Poisson at the pace of the two years before; the largest count in 7 or 14 days is taken, times the windows that fit three
    times over.
    """
    from scipy.special import gammainc

    day = np.array([d.toordinal() for d in departures.left_on])
    first = as_of.toordinal() - AFTER
    earlier = day[(day <= first) & (day > first - 730)]
    span = min(730, first - day.min()) if len(earlier) else 0
    pace = (len(earlier) + 1) / max(span, AFTER)
    late = np.array([d.toordinal() for d in recent.left_on])
    best, chosen = 1.0, np.zeros(len(recent), bool)
    for length in WAVES:
        for start in np.unique(late):
            inside = (late >= start) & (late < start + length)
            p = 3 * AFTER / length * len(WAVES) * float(gammainc(inside.sum(), pace * length))
            if p < best:
                best, chosen = p, inside
    return best < 0.001 and chosen.sum() >= LEAST_LEFT, best, chosen


def _panel(reading: Reading, watched: pd.DataFrame, others: pd.DataFrame) -> _Panel:
    day = f"DATE '{reading.as_of.isoformat()}'"
    first = f"{day} - {7 * WEEKS - 1}"
    sql = f"""
    WITH books AS (SELECT w.*, m.joined_on FROM watch_books AS w JOIN member_facts AS m ON m.member_id = w.member_id),
    sizes AS (SELECT book, mode(store_id) AS store_id FROM books GROUP BY 1 HAVING count(*) >= {LEAST_MEMBERS}),
    weeks AS (SELECT CAST(a AS INTEGER) AS age, {day} - CAST(7 * a + 6 + {SETTLED} AS INTEGER) AS settled_on
              FROM range({WEEKS}) AS w(a)),
    heads AS (SELECT b.book, w.age, count(*) AS n FROM books AS b JOIN weeks AS w ON b.joined_on < w.settled_on GROUP BY 1, 2),
    bought AS (
        SELECT b.book, w.age, count(*) AS orders, sum(o.net_fen) AS fen
        FROM order_facts AS o JOIN books AS b ON b.member_id = o.member_id
        JOIN weeks AS w ON w.age = date_diff('day', o.ordered_on, {day}) // 7 AND b.joined_on < w.settled_on
        WHERE o.ordered_on >= {first} GROUP BY 1, 2
    )
    SELECT s.book, s.store_id, h.age, h.n, coalesce(o.orders, 0) AS orders, CAST(coalesce(o.fen, 0) AS DOUBLE) AS fen
    FROM sizes AS s JOIN heads AS h ON h.book = s.book LEFT JOIN bought AS o ON o.book = s.book AND o.age = h.age
    WHERE h.n >= {LEAST_MEMBERS} ORDER BY 1, 3
    """
    cells = reading.engine.execute(sql).df()
    end = np.array([(reading.as_of - timedelta(days=7 * int(a))).toordinal() for a in range(WEEKS)])
    cells["after"], cells["lead"], cells["since"] = 0.0, 0.0, np.nan
    age = cells.age.to_numpy()
    for book, left in zip(watched.book, watched.left_on, strict=True):
        mine = (cells.book == book).to_numpy()
        since = end[age] - left.toordinal()  # days of the week after the departure, at most 7
        cells.loc[mine, "after"] = np.clip(since[mine] / 7, 0, 1)
        cells.loc[mine, "since"] = np.floor((since[mine] - 3.5) / 7)
        cells.loc[mine, "lead"] = ((since[mine] <= -28) & (since[mine] > -84)).astype(float)
    spoiled = np.zeros(len(cells), bool)
    for book, left in zip(others.book, others.left_on, strict=True):
        since = end[age] - left.toordinal()
        spoiled |= (cells.book == book).to_numpy() & (since > 0) & (since <= AFTER + 6)
    kept = cells[~spoiled].reset_index(drop=True)
    total = max(kept.orders.sum(), 1)
    return _Panel(kept, watched, float(kept.fen.sum() / total))


def _fit(cells: pd.DataFrame, names: list[str], by_store: bool = False) -> Fit | None:
    if cells.empty:
        return None
    column = cells.age.to_numpy()
    if by_store:
        column = column + WEEKS * pd.factorize(cells.store_id)[0]
    book = pd.factorize(cells.book)[0]
    return two_way(cells.orders.to_numpy(), np.log(cells.n.to_numpy(float)), book, column, cells[names].to_numpy(float))


def _course(cells: pd.DataFrame, df: float) -> pd.DataFrame:
    """Orders of the books left behind against the others, by weeks from the departure; the last four weeks before it are 1."""
    names, kept = [], cells.copy()
    for low, high in BINS:
        if (low, high) == (-4, -1):
            continue
        inside = kept.since.between(low, high)
        if inside.sum() < LEAST_LEFT:
            continue
        kept[f"b{low}"] = inside.astype(float)
        names.append((low, high))
    far = kept.since.notna() & ~kept.since.between(BINS[0][0], BINS[-1][1])
    kept = kept[~far]
    fit = _fit(kept, [f"b{low}" for low, _ in names])
    rows = [(-4, -1, 1.0, np.nan, np.nan)]
    if fit is not None:
        rows += [(low, high, *_ends(fit.estimate(i, df).exp())) for i, (low, high) in enumerate(names)]
    frame = pd.DataFrame(rows, columns=["from_week", "to_week", "value", "low", "high"])
    return frame.sort_values("from_week", ignore_index=True)


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high
