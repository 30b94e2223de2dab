"""What `tamis run` reports about the streams that it wrote."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MENU = """
menu: reported
paths:
  met: {steps: [MET_pt > 20]}
streams:
  tree: {paths: [met]}
  table: {paths: [met], format: parquet}
"""


def test_columns_that_a_tree_cannot_hold_are_reported(call, tmp_path):
    columns = {name: np.arange(40) for name in ("run", "luminosityBlock", "event", "MET_pt")}
    odd = {"nested": pa.array([[[1]]] * 40), "gaps": pa.array([None, 1] * 20)}
    pq.write_table(pa.table({**columns, **odd}), tmp_path / "in.parquet")
    (tmp_path / "menu.yaml").write_text(MENU)
    code, out, err = call(
        "run", tmp_path / "menu.yaml", tmp_path / "in.parquet", "-o", tmp_path / "out", "--json"
    )
    assert code == 0
    assert json.loads(out)["left_out"] == ["tree.root: nested, gaps"]
    assert "left out, as a ROOT tree cannot hold them: tree.root: nested, gaps" in err
    assert {"nested", "gaps"} <= set(pq.read_table(tmp_path / "out" / "table.parquet").column_names)
