"""How often each word was seen so far, one line for every word that comes in."""

from pathlib import Path

from zstream import FileSource, Stdout, Topology, main, source

TEXT = Path(__file__).with_name("bill_of_rights.txt")

counts = (
    source("lines", FileSource(str(TEXT)))
    .flat_map(str.split)
    .key_by(str.lower)
    .count()
    .map_items("{} => {}".format)
    .sink("counts", Stdout())
)
topology = Topology("word_count", counts)

if __name__ == "__main__":
    main(topology)
