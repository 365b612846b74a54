"""Single nouns and adjectives between English and four other languages."""

from __future__ import annotations

import random

from orchestrator.data.suite.task import Case, Task

LANGUAGES = ("English", "Spanish", "Italian", "French", "German")

# One row a meaning, one column a language. Words with several common translations are left out.
LEXICON = [
    row.split()
    for row in """
    house casa casa maison Haus
    dog perro cane chien Hund
    cat gato gatto chat Katze
    bread pan pane pain Brot
    water agua acqua eau Wasser
    milk leche latte lait Milch
    book libro libro livre Buch
    tree árbol albero arbre Baum
    sun sol sole soleil Sonne
    moon luna luna lune Mond
    night noche notte nuit Nacht
    door puerta porta porte Tür
    window ventana finestra fenêtre Fenster
    chair silla sedia chaise Stuhl
    foot pie piede pied Fuß
    head cabeza testa tête Kopf
    heart corazón cuore cœur Herz
    eye ojo occhio œil Auge
    cheese queso formaggio fromage Käse
    egg huevo uovo œuf Ei
    apple manzana mela pomme Apfel
    bird pájaro uccello oiseau Vogel
    horse caballo cavallo cheval Pferd
    cow vaca mucca vache Kuh
    street calle strada rue Straße
    school escuela scuola école Schule
    church iglesia chiesa église Kirche
    bridge puente ponte pont Brücke
    key llave chiave clé Schlüssel
    flower flor fiore fleur Blume
    rain lluvia pioggia pluie Regen
    snow nieve neve neige Schnee
    summer verano estate été Sommer
    king rey re roi König
    queen reina regina reine Königin
    brother hermano fratello frère Bruder
    sister hermana sorella sœur Schwester
    mother madre madre mère Mutter
    red rojo rosso rouge rot
    green verde verde vert grün
    yellow amarillo giallo jaune gelb
    salt sal sale sel Salz
    sugar azúcar zucchero sucre Zucker
    knife cuchillo coltello couteau Messer
    spoon cuchara cucchiaio cuillère Löffel
    fire fuego fuoco feu Feuer
    tooth diente dente dent Zahn
    """.strip().splitlines()
]


def _translation(source: str, target: str, *phrasings: str) -> Task:
    source_column, target_column = LANGUAGES.index(source), LANGUAGES.index(target)

    def draw(rng: random.Random) -> Case:
        row = rng.choice(LEXICON)
        return {"word": row[source_column]}, row[target_column]

    return Task(f"{source}_to_{target}".lower(), phrasings, draw)


english_to_french = _translation(
    "English",
    "French",
    "Translate the English word below into French. Give one word, in its basic form and without an "
    "article. Choose the most common word.\nEnglish: {word}\nFrench:",
    "How do you say '{word}' in French? A traveller who is preparing a trip to Paris needs just "
    "the word, without an article. Spell it with all its accents.",
    "You are making flash cards for a French class. One side reads '{word}' in English. What "
    "single French word goes on the other side? Check the accents before you write it down.",
)

english_to_german = _translation(
    "English",
    "German",
    "Translate the English word below into German. Give one word, in its basic form and without an "
    "article. Choose the most common word.\nEnglish: {word}\nGerman:",
    "What is the German word for '{word}'? A traveller who is preparing a trip to Berlin needs "
    "just the word, without an article. Nouns begin with a capital letter.",
    "You are making flash cards for a German class. One side reads '{word}' in English. What "
    "single German word goes on the other side? Check the capital letter before you write it down.",
)

french_to_english = _translation(
    "French",
    "English",
    "Translate the French word below into English. Give one word, in its basic form and without an "
    "article. Choose the most common meaning.\nFrench: {word}\nEnglish:",
    "What does the French word '{word}' mean in English? A traveller saw it on a sign in Lyon and "
    "wants a one-word answer. Choose the most common meaning.",
    "You are checking flash cards from a French class. One side reads '{word}'. What single "
    "English word has to be on the other side? Choose the most common meaning of the word.",
)

english_to_spanish = _translation(
    "English",
    "Spanish",
    "Translate the English word below into Spanish. Give one word, in its basic form and without "
    "an article. Choose the most common word.\nEnglish: {word}\nSpanish:",
    "How do you say '{word}' in Spanish? A traveller who is preparing a trip to Madrid needs just "
    "the word, without an article. Spell it with all its accents.",
    "You are making flash cards for a Spanish class. One side reads '{word}' in English. What "
    "single Spanish word goes on the other side? Check the accents before you write it down.",
)

english_to_italian = _translation(
    "English",
    "Italian",
    "Translate the English word below into Italian. Give one word, in its basic form and without "
    "an article. Choose the most common word.\nEnglish: {word}\nItalian:",
    "What is the Italian word for '{word}'? A traveller who is preparing a trip to Rome needs just "
    "the word, without an article. Spell it with care.",
    "You are making flash cards for an Italian class. One side reads '{word}' in English. What "
    "single Italian word goes on the other side? Check the spelling before you write it down.",
)
