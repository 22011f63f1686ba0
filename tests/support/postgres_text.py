"""What PostgreSQL prints, as exact values, and Arrow arrays as the same values: so that both can be compared.

A temporal value is the number of its units since the epoch, a decimal its digits, a range or a composite value a dict.
"""

import re
import struct
from decimal import Decimal

import pyarrow as pa

RANGE = ["lower", "upper", "lower_inclusive", "upper_inclusive", "empty"]
INTERVAL = ["months", "days", "nanoseconds"]


def values(array):
    """The values of an array."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return values(array.storage)
    if pa.types.is_dictionary(kind):
        return values(array.cast(kind.value_type))
    if pa.types.is_date32(kind):
        return array.cast(pa.int32()).to_pylist()
    if pa.types.is_timestamp(kind) or pa.types.is_time64(kind):
        return array.cast(pa.int64()).to_pylist()
    if pa.types.is_decimal(kind):
        return [None if value is None else f"{value:f}" for value in array.to_pylist()]
    valid, rows = array.is_valid().to_pylist(), range(len(array))
    if pa.types.is_map(kind):
        keys, items, ends = values(array.keys), values(array.items), array.offsets.to_pylist()
        return [dict(zip(keys[ends[row]:ends[row + 1]], items[ends[row]:ends[row + 1]])) if valid[row] else None
                for row in rows]
    if pa.types.is_list(kind):
        inner, ends = values(array.values), array.offsets.to_pylist()
        return [inner[ends[row]:ends[row + 1]] if valid[row] else None for row in rows]
    if pa.types.is_struct(kind):
        fields = {field.name: values(array.field(number)) for number, field in enumerate(kind)}
        return [{name: field[row] for name, field in fields.items()} if valid[row] else None for row in rows]
    return array.to_pylist()


def parse(text, kind):
    """What the server printed for a value that is of this Arrow type."""
    if text is None:
        return None
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind):
        return text
    if pa.types.is_boolean(kind):
        return {"t": True, "true": True, "f": False, "false": False}[text]
    if pa.types.is_integer(kind):
        return int(text)
    if pa.types.is_float64(kind):
        return float(text)
    if pa.types.is_float32(kind):
        return struct.unpack("f", struct.pack("f", float(text)))[0]
    if pa.types.is_decimal(kind):
        return f"{Decimal(text.replace('$', '').replace(',', '')):f}"
    if pa.types.is_fixed_size_binary(kind):
        return bytes.fromhex(text.replace("-", ""))
    if pa.types.is_binary(kind):
        return bytes.fromhex(text.removeprefix("\\x"))
    if pa.types.is_date32(kind):
        return infinite(text, 32) or date(text)
    if pa.types.is_time64(kind):
        return time(text)
    if pa.types.is_timestamp(kind):
        return infinite(text, 64) or timestamp(text)
    if pa.types.is_map(kind):
        return hstore(text)
    if pa.types.is_list(kind):
        is_range = pa.types.is_struct(kind.value_type) and names(kind.value_type) == RANGE
        # Of a multirange: in an array, a range with a comma has quotes around it.
        if is_range and text[1] in "[(":
            return [parse(part, kind.value_type) for part in re.findall(r"[\[(].*?[\])]", text)]
        return [parse_nested(item, kind.value_type) for item in array(text)]
    if names(kind) == RANGE:
        return span(text, kind)
    if names(kind) == INTERVAL:
        return interval(text)
    return {field.name: parse(part, field.type) for field, part in zip(kind, record(text), strict=True)}


def parse_nested(item, kind):
    """An element of an array: an inner dimension is a list already."""
    if isinstance(item, list):
        return [parse_nested(inner, kind.value_type) for inner in item]
    return parse(item, kind)


def names(kind):
    return [field.name for field in kind]


def infinite(text, bits):
    """Infinity is the greatest value, and its negative the least."""
    return {"infinity": (1 << bits - 1) - 1, "-infinity": -(1 << bits - 1)}.get(text)


def days(year, month, day):
    """Days since 1970 in the Gregorian calendar, of any year."""
    year -= month <= 2
    era, month = year // 400, (month + 9) % 12
    of_era = year - era * 400
    of_year = (153 * month + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


def date(text):
    year, month, day, before_christ = re.fullmatch(r"(\d+)-(\d\d)-(\d\d)( BC)?", text).groups()
    return days(1 - int(year) if before_christ else int(year), int(month), int(day))


def time(text):
    hours, minutes, seconds = text.split(":")
    return (int(hours) * 60 + int(minutes)) * 60_000_000 + int(Decimal(seconds) * 1_000_000)


def timestamp(text):
    day, rest, before_christ = re.fullmatch(r"(\S+) (\S+?)(?:\+00)?( BC)?", text).groups()
    return date(day + (before_christ or "")) * 86_400_000_000 + time(rest)


def interval(text):
    found = {unit: int(count) for count, unit in re.findall(r"([-+]?\d+) (year|mon|day)", text)}
    clock = re.search(r"([-+]?)(\d+:\d\d:\S+)$", text)
    micros = time(clock[2]) * (-1 if clock[1] == "-" else 1) if clock else 0
    return {"months": found.get("year", 0) * 12 + found.get("mon", 0), "days": found.get("day", 0),
            "nanoseconds": micros * 1000}


def array(text):
    """Elements as text, inner dimensions as lists."""
    text = re.sub(r"^(\[[-\d]+:[-\d]+\])+=", "", text)
    stack, item, quoted, at = [[]], None, False, 0
    while at < len(text):
        character = text[at]
        if character == '"':
            item, quoted, at = "", True, at + 1
            while text[at] != '"':
                at += text[at] == "\\"
                item += text[at]
                at += 1
        elif character == "{":
            stack.append([])
        elif character in ",}":
            if item is not None:
                stack[-1].append(None if item == "NULL" and not quoted else item)
            item, quoted = None, False
            if character == "}":
                inner = stack.pop()
                stack[-1].append(inner)
        else:
            at += character == "\\"
            item = (item or "") + text[at]
        at += 1
    return stack[0][0]


def record(text):
    return fields(text[1:-1])


def fields(text):
    """What stands between commas, in the quoting of composite values and ranges."""
    found, item, at = [], None, 0
    while at < len(text):
        character = text[at]
        if character == '"':
            item, at = item or "", at + 1
            while text[at] != '"' or text[at + 1:at + 2] == '"':
                at += text[at] in '\\"'
                item += text[at]
                at += 1
        elif character == ",":
            found.append(item)
            item = None
        else:
            at += character == "\\"
            item = (item or "") + text[at]
        at += 1
    return [*found, item]


def span(text, kind):
    if text == "empty":
        return dict(zip(RANGE, [None, None, False, False, True]))
    lower, upper = fields(text[1:-1])
    bounds = [parse(lower, kind.field("lower").type), parse(upper, kind.field("upper").type)]
    return dict(zip(RANGE, [*bounds, text[0] == "[", text[-1] == "]", False]))


def hstore(text):
    quoted = r'"((?:[^"\\]|\\.)*)"'
    plain = lambda part: re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL)
    pairs = re.findall(rf"{quoted}=>(?:{quoted}|(NULL))", text, re.DOTALL)
    return {plain(key): None if null else plain(value) for key, value, null in pairs}
