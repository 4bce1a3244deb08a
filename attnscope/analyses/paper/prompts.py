"""The prompts of the paper's figures (its Table A14)."""

from __future__ import annotations

PROMPTS: dict[str, tuple[str, ...]] = {
    "1": (
        "A desert oasis with a mirage of a city.",
        "A galaxy with colorful nebulae and star clusters.",
        "An underwater coral reef with mermaids and treasure.",
        "A magical duel in a ruined castle.",
        "A painting of mountains, in the style of Monet.",
    ),
    "3": ("High quality photo of an astronaut riding a horse in space.",),
    "4": ("Paisaje montañoso nevado.",),
    "6a": (
        "Beautiful lady, freckles, big smile, blue eyes, short ginger hair, dark makeup, wearing a "
        "floral blue vest top, soft light, dark grey background.",
        "Professional portrait photo of an anthropomorphic cat wearing fancy gentleman hat and jacket "
        "walking in autumn forest.",
        "Stars, water, brilliantly, gorgeous large scale scene, a little girl, in the style of dreamy "
        "realism, light gold and amber, blue and pink, brilliantly illuminated in the background.",
        "A legendary figure in Cyberpunk City, rainy night, front, sunglasses.",
    ),
    "6b": (
        "Woman standing in front of a window with her hair blowing, modern anime, sunshine, highly "
        "detailed.",
        "Create a story or description inspired by this photo of a gray-haired 24 year old Norwegian "
        "woman in front of the sun with subtle freckles and hazel eyes.",
        "A layer cake made out of a stratographic cross-section of the Sonoran Desert.",
        "A teal flower in a barren garden, beautiful villa background, octane, redshift, highly "
        "detailed.",
    ),
    "A4": ("a delicious salad with beef, stock photo.",),
    "A5": (
        "Sunset over a tranquil lake in the mountains",
        "Neon-lit skyline of a bustling future metropolis.",
        "A coral reef bustling with diverse marine life.",
        "Gears and steam power an old-world cityscape.",
        "Dusty trails leading to a desert sunset.",
        "Red hot air balloon safari at sunrise",
        "Giant flowers under a moon sky",
    ),
    "A6": ("Self-portrait oil painting, a beautiful cyborg with golden hair, 8k.",),
    "A7": (
        "A cubic ice cube and a spherical ice bucket.",
        "The blue bowl was on top of the white placemat.",
        "The green plant was on the right of the white wall.",
        "A diamond brooch and a teardrop bracelet",
    ),
    "A8": (
        "A snowy forest landscape with a dirt road running through it. The road is flanked by trees "
        "covered in snow, and the ground is also covered in snow. The sun is shining, creating a bright "
        "and serene atmosphere. The road appears to be empty, and there are no people or animals visible "
        "in the video. The style of the video is a natural landscape shot, with a focus on the beauty of "
        "the snowy forest and the peacefulness of the road.",
    ),
    "A10": (
        "a chicken on the right of a suitcase.",
        "professional portrait photo of an anthropomorphic cat wearing fancy gentleman hat and jacket "
        "walking in autumn forest.",
        "stars, water, brilliantly, gorgeous large scale scene, a little girl, in the style of dreamy "
        "realism, light gold and amber, blue and pink, brilliantly illuminated in the background.",
    ),
}
"""By the figure; of Figure 6 its two halves. Table A14 names none for Figures A1 and A2."""
