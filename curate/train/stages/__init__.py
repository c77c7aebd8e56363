"""The reference stage trainer: the stages of a stages.toml on a hand-over, small by design, to prove that it trains.

settings.py     the [model] table, and what the trainer refuses
vision.py projector.py language.py words.py   the parts, tiny ones of our own or of open_clip and transformers
model.py        the parts as one model
masks.py        who sees whom in a row of several documents with pictures
rows.py collate.py batches.py   from the loader's examples to tensors
objectives.py ordered_sum.py    the losses, and their gradient in an order that no number of workers changes
freeze.py lora.py               what is trained, adapters, and the proof that nothing else was
course.py state.py              the steps of a stage, and the state it goes on from
work.py run.py                  one stage put together; all stages in order
evaluate.py generate.py curve.py   what a stage has learned, as numbers and as a picture
"""
