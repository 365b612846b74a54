"""Chat templates that are in use, as their models' tokenizers have them, long ones without tools.

Each with the special tokens that it writes; the last of them ends a text.
"""

from typing import NamedTuple


class Shipped(NamedTuple):
    """A chat template and its special tokens, the last of which is eos_token."""

    template: str
    special: tuple[str, ...]
    learnable: bool = True  # an answer of a single turn can be told apart, and ends


GENERATE = "{% if add_generation_prompt %}"
CHATML_TURNS = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}" + GENERATE + "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ALTERNATE = (
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/...') }}{% endif %}"
)
QWEN3 = """\
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == "user" %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}"""  # noqa: E501
DEEPSEEK_R1 = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '<｜User｜>' + message['content'] }}{% endif %}"
    "{% if message['role'] == 'assistant' and message['content'] is not none %}"
    "{% set content = message['content'] %}{% if '</think>' in content %}"
    "{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{ '<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}"
    + GENERATE
    + "{{ '<｜Assistant｜><think>\n' }}{% endif %}"
)
LLAMA_3 = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    + GENERATE
    + "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}"
    + ALTERNATE
    + "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
    "{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + "
    "message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    + GENERATE
    + "{{'<start_of_turn>model\n'}}{% endif %}"
)
IN_PARTS = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n' }}{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "{{ '<|image|>' }}{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{{ '<|eot_id|>' }}{% endfor %}"
    + GENERATE
    + "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
HEADERS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
CHATML = ("<|im_start|>", "<|im_end|>")

TEMPLATES = {
    "llama-2": Shipped(
        ALTERNATE + "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + "
        "message['content'] | trim + ' [/INST]' }}{% else %}{{ ' ' + message['content'] | trim + "
        "' ' + eos_token }}{% endif %}{% endfor %}",
        ("<s>", "</s>"),
    ),
    "llama-3": Shipped(LLAMA_3, HEADERS),
    "llama-3.2-vision": Shipped(IN_PARTS, ("<|image|>", *HEADERS)),
    "mistral-v0.1": Shipped(
        "{{ bos_token }}" + ALTERNATE + "{% if message['role'] == 'user' %}{{ '[INST] ' + "
        "message['content'] + ' [/INST]' }}{% else %}{{ message['content'] + eos_token}}"
        "{% endif %}{% endfor %}",
        ("<s>", "</s>"),
    ),
    "mistral-v0.3": Shipped(
        "{{ bos_token }}" + ALTERNATE + "{% if message['role'] == 'user' %}{{ '[INST] ' + "
        "message['content'] + '[/INST]' }}{% else %}{{ ' ' + message['content'] + eos_token}}"
        "{% endif %}{% endfor %}",
        ("[INST]", "[/INST]", "<s>", "</s>"),
    ),
    "mixtral": Shipped(
        "{{ bos_token }}" + ALTERNATE + "{% if message['role'] == 'user' %}{{ ' [INST] ' + "
        "message['content'] + ' [/INST]' }}{% else %}{{ ' ' + message['content'] + eos_token}}"
        "{% endif %}{% endfor %}",
        ("<s>", "</s>"),
    ),
    "zephyr": Shipped(
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + "
        "message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n"
        "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
        "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n"
        "{% endfor %}",
        ("<s>", "</s>"),
    ),
    "qwen2.5": Shipped(
        "{{- '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}" + CHATML_TURNS,
        ("<|endoftext|>", *CHATML),
    ),
    "qwen3": Shipped(QWEN3, ("<|endoftext|>", *CHATML)),
    "smollm2": Shipped(CHATML_TURNS, ("<|endoftext|>", *CHATML)),
    "deepseek-r1": Shipped(
        DEEPSEEK_R1,
        ("<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
    ),
    "gemma": Shipped(GEMMA, ("<bos>", "<start_of_turn>", "<end_of_turn>", "<eos>")),
    "phi-3": Shipped(
        "{% for message in messages %}{% if message['role'] == 'user' %}{{'<|user|>\n' + "
        "message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}"
        "{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
        ("<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"),
    ),
    "phi-4": Shipped(
        "{% for message in messages %}{% if (message['role'] == 'user') %}"
        "{{'<|im_start|>user<|im_sep|>' + message['content'] + '<|im_end|>'}}"
        "{% elif (message['role'] == 'assistant') %}{{'<|im_start|>assistant<|im_sep|>' + "
        "message['content'] + '<|im_end|>'}}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}",
        ("<|endoftext|>", "<|im_sep|>", *CHATML),
    ),
    "falcon": Shipped(
        "{% for message in messages %}{% if not loop.first %}{{ '\n' }}{% endif %}"
        "{% if message['role'] == 'user' %}{{ 'User: ' + message['content'] }}"
        "{% else %}{{ 'Falcon: ' + message['content'] }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '\nFalcon:' }}{% endif %}",
        ("<|endoftext|>",),
        learnable=False,
    ),
    "vicuna": Shipped(
        "{{ 'A chat between a curious user and an artificial intelligence assistant. ' }}"
        "{% for message in messages %}{% if message['role'] == 'user' %}{{ 'USER: ' + "
        "message['content'] }}{% else %}{{ ' ASSISTANT: ' + message['content'] + eos_token }}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}",
        ("<s>", "</s>"),
    ),
    "alpaca": Shipped(
        "{% for message in messages %}{% if message['role'] == 'user' %}{{ '### Instruction:\n' + "
        "message['content'].strip() + '\n\n' }}{% else %}{{ '### Response:\n' + "
        "message['content'].strip() + '\n\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}",
        ("<s>", "</s>"),
        learnable=False,
    ),
    "command-r": Shipped(
        "{{ bos_token }}" + ALTERNATE + "{% set content = message['content'] %}"
        "{% if message['role'] == 'user' %}{{ '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + "
        "content.strip() + '<|END_OF_TURN_TOKEN|>' }}{% else %}"
        "{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' + content.strip() + "
        "'<|END_OF_TURN_TOKEN|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}",
        ("<BOS_TOKEN>", "<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>",
         "<|END_OF_TURN_TOKEN|>"),
    ),
    "tulu": Shipped(
        "{% for message in messages %}{% if message['role'] == 'user' %}{{ '<|user|>\n' + "
        "message['content'] + '\n' }}{% elif message['role'] == 'assistant' %}{% if not loop.last "
        "%}{{ '<|assistant|>\n'  + message['content'] + eos_token + '\n' }}{% else %}"
        "{{ '<|assistant|>\n'  + message['content'] + eos_token }}{% endif %}{% endif %}"
        "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
        "{% endfor %}",
        ("<|endoftext|>",),
    ),
    "granite": Shipped(
        "{%- for message in messages %}{{- '<|start_of_role|>' + message['role'] + "
        "'<|end_of_role|>' + message['content'] + '<|end_of_text|>\n' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|start_of_role|>assistant<|end_of_role|>' }}"
        "{%- endif %}",
        ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"),
    ),
    "starchat": Shipped(
        "{% for message in messages %}{% if message['role'] == 'user' %}{{ '<|user|>\n' + "
        "message['content'] + '<|end|>\n' }}{% else %}{{ '<|assistant|>\n' + message['content'] + "
        "'<|end|>\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
        ("<|user|>", "<|assistant|>", "<|endoftext|>", "<|end|>"),
    ),
    "nemotron-3": Shipped(
        "{% for message in messages %}{% if message['role'] == 'user' %}{{ '<|im_start|>user\n' + "
        "message['content'] + '<|im_end|>\n' }}{% else %}{% set content = message['content'] %}"
        "{% if '</think>' not in content %}{% set content = '<think></think>' + content %}"
        "{% endif %}{{ '<|im_start|>assistant\n' + content.strip() + '<|im_end|>\n' }}"
        "{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}",
        ("<unk>", *CHATML),
    ),
    "openchat": Shipped(
        "{{ bos_token }}{% for message in messages %}{{ 'GPT4 Correct ' + message['role'].title() "
        "+ ': ' + message['content'] + '<|end_of_turn|>'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'GPT4 Correct Assistant:' }}{% endif %}",
        ("<s>", "<|end_of_turn|>"),
    ),
}  # fmt: skip
