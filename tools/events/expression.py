"""Expressions over the columns of a table: derived columns and selections, such as

    sqrt(2 * pt1 * pt2 * (cosh(eta1 - eta2) - cos(phi1 - phi2)))
    charge == 'OS' and abs(eta) < 2.4

Only what is listed here is understood, and nothing is ever executed: an expression may come from a model.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.contract import ToolError

Array = NDArray[Any]
LONGEST = 1000  # characters
BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
UNARY: dict[type[ast.AST], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: np.logical_not,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(np, name)
    for name in ("abs", "sqrt", "exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "hypot", "arctan2")
}
FUNCTIONS |= {"min": np.minimum, "max": np.maximum}


def evaluate(expression: str, columns: Mapping[str, Array], field: str = "expression") -> Array:
    """Return the value of an expression for every row (n,).

    Raises ToolError, naming `field`, for what is not understood, an unknown column and a value that is not one per row.
    """
    if len(expression) > LONGEST:
        raise ToolError(field, expression, f"at most {LONGEST} characters")
    try:
        if expression in columns:  # whatever its name looks like: `m [GeV]`
            value = np.asarray(columns[expression])
        else:
            tree = ast.parse(expression.strip(), mode="eval")
            with np.errstate(all="ignore"):
                value = np.asarray(_value(tree.body, columns))
    except ToolError as error:
        raise ToolError(field, expression, error.allowed) from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ToolError(field, expression, f"not an expression ({error})") from None
    except (TypeError, np.exceptions.DTypePromotionError) as error:
        raise ToolError(field, expression, f"text and numbers cannot be mixed ({error})") from None
    rows = len(next(iter(columns.values()))) if columns else 0
    if value.shape != (rows,):
        raise ToolError(field, expression, "needs at least one column of the table")
    return value


def names_in(expression: str, columns: Collection[str]) -> list[str]:
    """Return the columns that an expression uses, in the order of the table; none if it is no expression.

    >>> names_in("sqrt(pt1 * pt2)", ["pt1", "eta1", "pt2"])
    ['pt1', 'pt2']
    """
    if expression in columns:
        return [expression]
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []  # `evaluate` says why
    words = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return [name for name in columns if name in words]


def select(expression: str, columns: Mapping[str, Array], field: str = "cut") -> NDArray[np.bool_]:
    """Return which rows (n,) an expression of comparisons selects; raises ToolError if its value is not yes or no."""
    value = evaluate(expression, columns, field)
    if value.dtype != np.bool_:
        raise ToolError(field, expression, "a condition such as `pt > 20 and charge == 'OS'`")
    return np.asarray(value)


def _value(node: ast.AST, columns: Mapping[str, Array]) -> Any:
    """Return the value of a node of the syntax tree."""
    match node:
        case ast.Constant(value=bool() | int() | float() | str()):
            return float(node.value) if type(node.value) is int else node.value
        case ast.Name(id=name):
            if name not in columns:
                raise ToolError("", name, f"no column {name!r}; there are {', '.join(columns)}")
            return columns[name]
        case ast.UnaryOp() if type(node.op) in UNARY:
            return UNARY[type(node.op)](_value(node.operand, columns))
        case ast.BinOp() if type(node.op) in BINARY:
            return BINARY[type(node.op)](_value(node.left, columns), _value(node.right, columns))
        case ast.BoolOp():
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return join.reduce([_condition(each, columns) for each in node.values])
        case ast.Compare() if all(type(each) in BINARY for each in node.ops):
            sides = [_value(each, columns) for each in (node.left, *node.comparators)]
            pairs = zip(node.ops, sides[:-1], sides[1:], strict=True)
            return np.logical_and.reduce([BINARY[type(op)](left, right) for op, left, right in pairs])
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*(_value(each, columns) for each in node.args))
    raise ToolError(
        "", ast.unparse(node), f"{ast.unparse(node)!r} is not understood; functions: {', '.join(FUNCTIONS)}"
    )


def _condition(node: ast.AST, columns: Mapping[str, Array]) -> Any:
    value = np.asarray(_value(node, columns))
    if value.dtype != np.bool_:
        raise ToolError("", ast.unparse(node), f"{ast.unparse(node)!r} is not a condition")
    return value
