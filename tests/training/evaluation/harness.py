"""Task files for lm-evaluation-harness, and the items that they ask."""

import json

ITEMS = [
    {"question": f"Item {number} has the colour", "choices": ["red", "green", "blue"],
     "label": number % 3}
    for number in range(12)
]  # fmt: skip
TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: items.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: label
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""


def write_tasks(folder, *names):
    """A folder with a task for each name, all over the same items."""
    folder.mkdir(exist_ok=True)
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    for name in names:
        (folder / f"{name}.yaml").write_text(TASK.format(name=name))
    return folder
