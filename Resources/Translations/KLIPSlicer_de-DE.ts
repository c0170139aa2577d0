<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="de_DE" sourcelanguage="en">
  <context>
    <name>KLIPSlicer</name>
    <message>
      <source>KLIP: out-of-distribution detection</source>
      <translation>KLIP: Erkennung von Auffälligkeiten</translation>
    </message>
    <message>
      <source>
&lt;p&gt;Marks where a CT departs from the healthy anatomy that a diffusion prior knows, as a map in nats and as regions.&lt;/p&gt;
&lt;ol&gt;
&lt;li&gt;Choose a CT of the abdomen, with contrast. Read what the prior knows, and any warning below it.&lt;/li&gt;
&lt;li&gt;Press &lt;b&gt;Detect OOD&lt;/b&gt;. First results appear while later slices are still examined.
&lt;b&gt;Cancel&lt;/b&gt; keeps what is finished.&lt;/li&gt;
&lt;li&gt;Move &lt;b&gt;Block size&lt;/b&gt;: small blocks show small things, large ones faint and extended changes.
Nothing is computed again.&lt;/li&gt;
&lt;li&gt;Click a region to see it in all views. Uncheck what you do not want, then &lt;b&gt;Export…&lt;/b&gt;&lt;/li&gt;
&lt;/ol&gt;
&lt;p&gt;The scan is simulated from the loaded volume; nothing is sent anywhere. Missing Python packages are asked for
when you press Detect for the first time.&lt;/p&gt;
&lt;p&gt;&lt;b&gt;Research software. Not a medical device.&lt;/b&gt; It does not diagnose, and an unmarked place is not thereby
healthy.&lt;/p&gt;
</source>
      <translation>
&lt;p&gt;Markiert, wo ein CT von der gesunden Anatomie abweicht, die ein Diffusions-Prior kennt: als Karte in Nats und als Bereiche.&lt;/p&gt;
&lt;ol&gt;
&lt;li&gt;Ein CT des Bauches mit Kontrastmittel wählen. Lesen, was der Prior kennt, und jede Warnung darunter.&lt;/li&gt;
&lt;li&gt;&lt;b&gt;Auffälligkeiten suchen&lt;/b&gt; drücken. Erste Ergebnisse erscheinen, während spätere Schichten noch untersucht werden.
&lt;b&gt;Abbrechen&lt;/b&gt; behält, was fertig ist.&lt;/li&gt;
&lt;li&gt;Die &lt;b&gt;Blockgröße&lt;/b&gt; verschieben: Kleine Blöcke zeigen Kleines, große schwache und ausgedehnte Veränderungen.
Nichts wird neu berechnet.&lt;/li&gt;
&lt;li&gt;Einen Bereich anklicken, um ihn in allen Ansichten zu sehen. Das Häkchen bei dem entfernen, was Sie nicht wollen, dann &lt;b&gt;Exportieren…&lt;/b&gt;&lt;/li&gt;
&lt;/ol&gt;
&lt;p&gt;Die Aufnahme wird aus dem geladenen Volumen simuliert; nichts wird irgendwohin gesendet. Nach fehlenden Python-Paketen wird
gefragt, wenn Sie zum ersten Mal suchen.&lt;/p&gt;
&lt;p&gt;&lt;b&gt;Forschungssoftware. Kein Medizinprodukt.&lt;/b&gt; Sie stellt keine Diagnose, und was nicht markiert ist, muss deshalb nicht
gesund sein.&lt;/p&gt;
</translation>
    </message>
    <message>
      <source>An independent implementation of KLIP: A. Kheirandish, J. Hong, S. Fridovich-Keil, CVPR 2026, arXiv 2605.31596.</source>
      <translation>Eine unabhängige Umsetzung von KLIP: A. Kheirandish, J. Hong, S. Fridovich-Keil, CVPR 2026, arXiv 2605.31596.</translation>
    </message>
    <message>
      <source>The detection took longer than {n} s and was stopped.</source>
      <translation>Die Erkennung dauerte länger als {n} s und wurde angehalten.</translation>
    </message>
    <message>
      <source>The detection was cancelled.</source>
      <translation>Die Erkennung wurde abgebrochen.</translation>
    </message>
    <message>
      <source>Study</source>
      <translation>Studie</translation>
    </message>
    <message>
      <source>CT volume:</source>
      <translation>CT-Volumen:</translation>
    </message>
    <message>
      <source>The CT to examine, in Hounsfield units. Best loaded from DICOM: exported segmentations then refer to the original images.</source>
      <translation>Das zu untersuchende CT in Hounsfield-Einheiten. Am besten aus DICOM geladen: Exportierte Segmentierungen verweisen dann auf die Originalbilder.</translation>
    </message>
    <message>
      <source>Region of interest:</source>
      <translation>Interessierender Bereich:</translation>
    </message>
    <message>
      <source>Optional. Examine only what lies in this box: fewer slices are computed, and only places inside can be marked. Choose None to examine everything.</source>
      <translation>Wahlfrei. Nur untersuchen, was in diesem Quader liegt: Es werden weniger Schichten berechnet, und nur Stellen darin können markiert werden. „None“ wählen, um alles zu untersuchen.</translation>
    </message>
    <message>
      <source>Slices:</source>
      <translation>Schichten:</translation>
    </message>
    <message>
      <source>Examine only these slices, counted from the feet, from 0. Fewer slices take less time; slices that are done already are never computed twice.</source>
      <translation>Nur diese Schichten untersuchen, von den Füßen an gezählt, ab 0. Weniger Schichten brauchen weniger Zeit; was fertig ist, wird nie zweimal berechnet.</translation>
    </message>
    <message>
      <source>Prior:</source>
      <translation>Prior:</translation>
    </message>
    <message>
      <source>The model of healthy anatomy that the CT is compared with. It only knows the kind of scans it was trained on; the box below says which. More can be added under “Advanced”.</source>
      <translation>Das Modell gesunder Anatomie, mit dem das CT verglichen wird. Es kennt nur die Art von Aufnahmen, mit denen es trainiert wurde; das Feld darunter sagt, welche. Weitere lassen sich unter „Erweitert“ hinzufügen.</translation>
    </message>
    <message>
      <source>What the chosen prior was trained on and what it may be used for.</source>
      <translation>Womit der gewählte Prior trainiert wurde und wofür er verwendet werden darf.</translation>
    </message>
    <message>
      <source>Why results on this volume deserve less trust. The report repeats it.</source>
      <translation>Warum Ergebnisse zu diesem Volumen weniger Vertrauen verdienen. Der Bericht wiederholt es.</translation>
    </message>
    <message>
      <source>Choose a CT volume first.</source>
      <translation>Zuerst ein CT-Volumen wählen.</translation>
    </message>
    <message>
      <source>Detect OOD</source>
      <translation>Auffälligkeiten suchen</translation>
    </message>
    <message>
      <source>How much of the work is done.</source>
      <translation>Wie viel der Arbeit getan ist.</translation>
    </message>
    <message>
      <source>What is being done and how long it will take; afterwards, what was found.</source>
      <translation>Was gerade getan wird und wie lange es dauert; danach, was gefunden wurde.</translation>
    </message>
    <message>
      <source>Map and regions, live</source>
      <translation>Karte und Bereiche, sofort</translation>
    </message>
    <message>
      <source>Look for:</source>
      <translation>Suchen nach:</translation>
    </message>
    <message>
      <source>What counts as a departure. unexpected: darker or brighter than expected, judged by what healthy people show. hypodense: soft tissue darker than expected, small and large; it ranks liver lesions best and sees nothing bright, fatty or gaseous. darker: the same for all tissues, small ones only. brighter: the same for what is brighter, in every patient also vessels. surprise: both, less exact. klip: the whole KL of our own chain, not the published recipe. nats: all of the measured information. one-shot: a simple comparison. Acts at once where the trace has it; the others need Detect again.</source>
      <translation>Was als Abweichung zählt. unexpected: dunkler oder heller als erwartet, beurteilt danach, was Gesunde zeigen. hypodense: Weichgewebe, das dunkler ist als erwartet, klein und groß; ordnet Leberläsionen am besten und sieht nichts Helles, Fettes oder Gasförmiges. darker: dasselbe für alle Gewebe, nur Kleines. brighter: dasselbe für Helleres, bei jedem Menschen auch Gefäße. surprise: beides, weniger genau. klip: die ganze KL unserer eigenen Kette, nicht das veröffentlichte Rezept. nats: alle gemessene Information. one-shot: ein einfacher Vergleich. Wirkt sofort, wo es aufgezeichnet ist; sonst neu suchen.</translation>
    </message>
    <message>
      <source>Block size:</source>
      <translation>Blockgröße:</translation>
    </message>
    <message>
      <source>Size of the square over which departures from the prior are added up. Small blocks show small things and are noisier; large blocks find faint, extended changes. A few times the smallest lesion you look for is a good start. Acts at once, nothing is computed again.</source>
      <translation>Größe des Quadrats, über das Abweichungen vom Prior summiert werden. Kleine Blöcke zeigen Kleines und rauschen mehr; große finden schwache, ausgedehnte Veränderungen. Ein paarmal die kleinste gesuchte Läsion ist ein guter Anfang. Wirkt sofort, nichts wird neu berechnet.</translation>
    </message>
    <message>
      <source> mm</source>
      <translation> mm</translation>
    </message>
    <message>
      <source>σ window:</source>
      <translation>σ-Fenster:</translation>
    </message>
    <message>
      <source>Coarseness of the departures that count. Recommended is the range at which real liver lesions were found best; fine looks at smaller, sharper detail, coarse at larger, softer changes. Acts at once.</source>
      <translation>Wie grob die Abweichungen sind, die zählen. „Empfohlen“ ist der Bereich, in dem echte Leberläsionen am besten gefunden wurden; „fein“ sieht auf Kleines und Scharfes, „grob“ auf Größeres und Weicheres. Wirkt sofort.</translation>
    </message>
    <message>
      <source>The range of noise levels σ itself, in parts of the prior's window (1 is its whole width of Hounsfield units). For experts; moving it makes the window “custom”.</source>
      <translation>Der Bereich der Rauschstärken σ selbst, in Teilen des Prior-Fensters (1 ist dessen ganze Breite in Hounsfield-Einheiten). Für Fachleute; wer ihn verschiebt, macht das Fenster „eigen“.</translation>
    </message>
    <message>
      <source>False discoveries:</source>
      <translation>Falsche Funde:</translation>
    </message>
    <message>
      <source>Up to which part of the marked regions may be chance (false-discovery rate). 0.5 marks generously; 0.05 marks only what hardly can be chance. Acts at once.</source>
      <translation>Welcher Teil der markierten Bereiche höchstens Zufall sein darf (Falschfundrate). 0.5 markiert großzügig; 0.05 nur, was kaum Zufall sein kann. Wirkt sofort.</translation>
    </message>
    <message>
      <source>False regions:</source>
      <translation>Falsche Bereiche:</translation>
    </message>
    <message>
      <source>How many regions a healthy study of this size may show on average. 1 is a start; less marks only what is rare in health, more marks generously. Acts at once.</source>
      <translation>Wie viele Bereiche eine gesunde Studie dieser Größe im Mittel zeigen darf. 1 ist ein Anfang; weniger markiert nur, was bei Gesunden selten ist, mehr markiert großzügig. Wirkt sofort.</translation>
    </message>
    <message>
      <source> regions</source>
      <translation> Bereiche</translation>
    </message>
    <message>
      <source>Sign:</source>
      <translation>Vorzeichen:</translation>
    </message>
    <message>
      <source>Which departures are marked: darker than the prior expected, brighter, or both. Acts at once.</source>
      <translation>Welche Abweichungen markiert werden: dunkler als vom Prior erwartet (darker), heller (brighter) oder beides (both). Wirkt sofort.</translation>
    </message>
    <message>
      <source>Tissue:</source>
      <translation>Gewebe:</translation>
    </message>
    <message>
      <source>Where regions are sought. soft: organs, muscle, bowel wall, blood and bone. all: fat, lung and gas, too, where healthy people differ most, so that more is asked of a region. Acts at once.</source>
      <translation>Wo gesucht wird. soft: Organe, Muskel, Darmwand, Blut und Knochen. all: auch Fett, Lunge und Gas, worin sich Gesunde am meisten unterscheiden, so dass von einem Bereich mehr verlangt wird. Wirkt sofort.</translation>
    </message>
    <message>
      <source>Organs:</source>
      <translation>Organe:</translation>
    </message>
    <message>
      <source>Optional. A segmentation of this scan, from any program or drawn by hand: regions are named by its segments. Acts at once.</source>
      <translation>Wahlfrei. Eine Segmentierung dieser Aufnahme, aus einem beliebigen Programm oder von Hand: Bereiche werden nach ihren Segmenten benannt. Wirkt sofort.</translation>
    </message>
    <message>
      <source>Look within:</source>
      <translation>Suchen in:</translation>
    </message>
    <message>
      <source>Mark regions within these segments alone. Less volume holds fewer of the regions that healthy studies show, so the verdict changes with it. Acts at once.</source>
      <translation>Nur innerhalb dieser Segmente markieren. Weniger Volumen enthält weniger der Bereiche, die gesunde Studien zeigen; das Urteil ändert sich mit. Wirkt sofort.</translation>
    </message>
    <message>
      <source>Overlay opacity:</source>
      <translation>Deckkraft:</translation>
    </message>
    <message>
      <source>How strongly the colors cover the CT. 0 shows the CT alone.</source>
      <translation>Wie stark die Farben das CT überdecken. 0 zeigt das CT allein.</translation>
    </message>
    <message>
      <source>Overlay threshold:</source>
      <translation>Farbschwelle:</translation>
    </message>
    <message>
      <source>Places below this number of the legend are not colored. It starts where ordinary tissue of this very scan ends. It changes the picture only, never the regions.</source>
      <translation>Stellen unter dieser Zahl der Legende werden nicht gefärbt. Sie beginnt, wo gewöhnliches Gewebe dieser Aufnahme endet. Sie ändert nur das Bild, nie die Bereiche.</translation>
    </message>
    <message>
      <source>Regions</source>
      <translation>Bereiche</translation>
    </message>
    <message>
      <source>What was found, in a sentence.</source>
      <translation>Was gefunden wurde, in einem Satz.</translation>
    </message>
    <message>
      <source>Marked regions. Click a row to see it in all views; click a heading to sort; the checkbox hides a region and keeps it out of exports. Keys: arrows walk, Enter jumps, space hides, 0 to 4 say what it is.</source>
      <translation>Markierte Bereiche. Ein Klick auf eine Zeile zeigt sie in allen Ansichten, einer auf eine Überschrift sortiert; das Kästchen blendet einen Bereich aus und lässt ihn beim Export weg. Tasten: Pfeile gehen, Eingabe springt, Leertaste blendet aus, 0 bis 4 sagen, was es ist.</translation>
    </message>
    <message>
      <source>Reading:</source>
      <translation>Befund:</translation>
    </message>
    <message>
      <source>What you say of the chosen region. It is saved with the scene and exported with the report.</source>
      <translation>Was Sie zum gewählten Bereich sagen. Es wird mit der Szene gespeichert und mit dem Bericht exportiert.</translation>
    </message>
    <message>
      <source>What you say of the chosen region. It is saved with the scene and exported with the report. In the table, the keys 0 to 4 do the same.</source>
      <translation>Was Sie zum gewählten Bereich sagen. Es wird mit der Szene gespeichert und mit dem Bericht exportiert. In der Tabelle tun die Tasten 0 bis 4 dasselbe.</translation>
    </message>
    <message>
      <source>A note on the chosen region, in your words. It is saved and exported as it stands: write nothing that names the patient.</source>
      <translation>Eine Notiz zum gewählten Bereich, in Ihren Worten. Sie wird so gespeichert und exportiert, wie sie dasteht: nichts schreiben, was den Patienten nennt.</translation>
    </message>
    <message>
      <source>Note</source>
      <translation>Notiz</translation>
    </message>
    <message>
      <source>Save the checked regions: as a segmentation in the scene, as a file, as DICOM SEG for a PACS, as surfaces, or as a report.</source>
      <translation>Die angehakten Bereiche sichern: als Segmentierung in der Szene, als Datei, als DICOM SEG für ein PACS, als Oberflächen oder als Bericht.</translation>
    </message>
    <message>
      <source>Export…</source>
      <translation>Exportieren…</translation>
    </message>
    <message>
      <source>Show the surfaces of the regions in the 3-D view too.</source>
      <translation>Die Oberflächen der Bereiche auch in der 3D-Ansicht zeigen.</translation>
    </message>
    <message>
      <source>Show in 3-D</source>
      <translation>In 3D zeigen</translation>
    </message>
    <message>
      <source>Several volumes</source>
      <translation>Mehrere Volumina</translation>
    </message>
    <message>
      <source>Volumes that are examined one after another, with the settings that the panel shows when each begins.</source>
      <translation>Volumina, die nacheinander untersucht werden, mit den Einstellungen, die beim Beginn eines jeden hier stehen.</translation>
    </message>
    <message>
      <source>Add the CT volume that is chosen above to the list.</source>
      <translation>Das oben gewählte CT-Volumen in die Liste aufnehmen.</translation>
    </message>
    <message>
      <source>Add this volume</source>
      <translation>Dieses hinzufügen</translation>
    </message>
    <message>
      <source>Examine all volumes that wait, one after another. Cancel stops the one that runs; the next one begins then.</source>
      <translation>Alle wartenden Volumina nacheinander untersuchen. „Abbrechen“ hält das laufende an; dann beginnt das nächste.</translation>
    </message>
    <message>
      <source>Detect in all</source>
      <translation>In allen suchen</translation>
    </message>
    <message>
      <source>Take the chosen volume out of the list; the one that runs is cancelled.</source>
      <translation>Das gewählte Volumen aus der Liste nehmen; das laufende wird abgebrochen.</translation>
    </message>
    <message>
      <source>Take out</source>
      <translation>Herausnehmen</translation>
    </message>
    <message>
      <source>Outputs</source>
      <translation>Ausgaben</translation>
    </message>
    <message>
      <source>KL map:</source>
      <translation>KL-Karte:</translation>
    </message>
    <message>
      <source>The volume that the map goes into. A volume that is chosen loses what it held; its colors stay when it was a map before. Several volumes in a row always get new ones.</source>
      <translation>Das Volumen, in das die Karte kommt. Ein gewähltes Volumen verliert, was es enthielt; seine Farben bleiben, wenn es vorher schon eine Karte war. Mehrere Volumina hintereinander bekommen immer neue.</translation>
    </message>
    <message>
      <source>KL map</source>
      <translation>KL-Karte</translation>
    </message>
    <message>
      <source>New, each time</source>
      <translation>Jedes Mal neu</translation>
    </message>
    <message>
      <source>Reconstruction:</source>
      <translation>Rekonstruktion:</translation>
    </message>
    <message>
      <source>The volume that the reconstruction goes into. A volume that is chosen loses what it held; its window stays.</source>
      <translation>Das Volumen, in das die Rekonstruktion kommt. Ein gewähltes Volumen verliert, was es enthielt; seine Fensterung bleibt.</translation>
    </message>
    <message>
      <source>Reconstruction</source>
      <translation>Rekonstruktion</translation>
    </message>
    <message>
      <source>Regions:</source>
      <translation>Bereiche:</translation>
    </message>
    <message>
      <source>The segmentation that the regions go into. One that is chosen loses its segments; how it is shown stays.</source>
      <translation>Die Segmentierung, in die die Bereiche kommen. Eine gewählte verliert ihre Segmente; wie sie dargestellt wird, bleibt.</translation>
    </message>
    <message>
      <source>Region table:</source>
      <translation>Bereichstabelle:</translation>
    </message>
    <message>
      <source>The table that the numbers of the regions go into. One that is chosen loses what it held.</source>
      <translation>Die Tabelle, in die die Zahlen der Bereiche kommen. Eine gewählte verliert, was sie enthielt.</translation>
    </message>
    <message>
      <source>Region table</source>
      <translation>Bereichstabelle</translation>
    </message>
    <message>
      <source>Audit a reconstruction</source>
      <translation>Rekonstruktion prüfen</translation>
    </message>
    <message>
      <source>The image that is asked about, in HU: a vendor's, a network's, or this module's own reconstruction.</source>
      <translation>Das Bild, um das es geht, in HU: von einem Hersteller, einem Netz oder von diesem Modul rekonstruiert.</translation>
    </message>
    <message>
      <source>Slice:</source>
      <translation>Schicht:</translation>
    </message>
    <message>
      <source>One slice is audited at a time. Counted from the feet, from 0.</source>
      <translation>Geprüft wird eine Schicht auf einmal. Von den Füßen an gezählt, ab 0.</translation>
    </message>
    <message>
      <source>Compare with:</source>
      <translation>Vergleichen mit:</translation>
    </message>
    <message>
      <source>What tells whether the image is right: the data that it was made from, or a better volume on the same voxels, whose scan is then simulated.</source>
      <translation>Woran das Bild gemessen wird: an den Daten, aus denen es entstand, oder an einem besseren Volumen auf denselben Voxeln, dessen Aufnahme dann simuliert wird.</translation>
    </message>
    <message>
      <source>Sinogram:</source>
      <translation>Sinogramm:</translation>
    </message>
    <message>
      <source>Line integrals with their geometry, .npz or .mat. It must be the scan of this slice.</source>
      <translation>Linienintegrale mit ihrer Geometrie, .npz oder .mat. Es muss die Aufnahme dieser Schicht sein.</translation>
    </message>
    <message>
      <source>Volume:</source>
      <translation>Volumen:</translation>
    </message>
    <message>
      <source>A volume on the same voxels. What it does not show cannot be found.</source>
      <translation>Ein Volumen auf denselben Voxeln. Was es nicht zeigt, kann nicht gefunden werden.</translation>
    </message>
    <message>
      <source>Structures:</source>
      <translation>Strukturen:</translation>
    </message>
    <message>
      <source>Optional. Its visible segments are audited. None: the strongest compact structures are looked for.</source>
      <translation>Wahlfrei. Geprüft werden die sichtbaren Segmente. Keine: Die deutlichsten kompakten Strukturen werden gesucht.</translation>
    </message>
    <message>
      <source>Audit</source>
      <translation>Prüfen</translation>
    </message>
    <message>
      <source>Ask the data which structures of this slice were measured.</source>
      <translation>Die Daten fragen, welche Strukturen dieser Schicht gemessen wurden.</translation>
    </message>
    <message>
      <source>How far the audit is.</source>
      <translation>Wie weit die Prüfung ist.</translation>
    </message>
    <message>
      <source>What the audit does, or what should be known before anything else.</source>
      <translation>Was die Prüfung tut, oder was man vor allem anderen wissen sollte.</translation>
    </message>
    <message>
      <source>What the data say, in a sentence.</source>
      <translation>Was die Daten sagen, in einem Satz.</translation>
    </message>
    <message>
      <source>Structures and what the data say of them. Click one to see it in all views.</source>
      <translation>Strukturen und was die Daten dazu sagen. Ein Klick zeigt sie in allen Ansichten.</translation>
    </message>
    <message>
      <source>Show:</source>
      <translation>Zeigen:</translation>
    </message>
    <message>
      <source>What is shown in color over the slice.</source>
      <translation>Was farbig über der Schicht gezeigt wird.</translation>
    </message>
    <message>
      <source>Pictures, every number and where they come from, in the web browser.</source>
      <translation>Bilder, alle Zahlen und woher sie kommen, im Webbrowser.</translation>
    </message>
    <message>
      <source>Open the page</source>
      <translation>Seite öffnen</translation>
    </message>
    <message>
      <source>Advanced</source>
      <translation>Erweitert</translation>
    </message>
    <message>
      <source>Preset:</source>
      <translation>Voreinstellung:</translation>
    </message>
    <message>
      <source>How much work each slice gets. quick: a first look. default: what the published figures of this program were measured with, about twice as long. full: for a figure in a paper.</source>
      <translation>Wie viel Arbeit jede Schicht bekommt. quick: ein erster Blick. default: womit die veröffentlichten Zahlen dieses Programms gemessen wurden, etwa doppelt so lang. full: für eine Abbildung in einem Artikel.</translation>
    </message>
    <message>
      <source>Views:</source>
      <translation>Projektionen:</translation>
    </message>
    <message>
      <source>Number of X-ray projections of the simulated scan. Fewer views measure less, so the prior fills in more and small lesions fade.</source>
      <translation>Zahl der Röntgenprojektionen der simulierten Aufnahme. Weniger messen weniger: Der Prior ergänzt mehr, und kleine Läsionen verblassen.</translation>
    </message>
    <message>
      <source>Geometry:</source>
      <translation>Geometrie:</translation>
    </message>
    <message>
      <source>Rays of the simulated scan: parallel, or a fan as in a clinical scanner.</source>
      <translation>Strahlen der simulierten Aufnahme: parallel oder als Fächer wie im klinischen Gerät.</translation>
    </message>
    <message>
      <source>Dose:</source>
      <translation>Dosis:</translation>
    </message>
    <message>
      <source>Noise of the simulated scan: standard noise, or X-ray photons a ray. Fewer photons are a lower dose and a noisier scan.</source>
      <translation>Rauschen der simulierten Aufnahme: übliches Rauschen oder Röntgenphotonen je Strahl. Weniger Photonen sind eine kleinere Dosis und mehr Rauschen.</translation>
    </message>
    <message>
      <source>Samples:</source>
      <translation>Stichproben:</translation>
    </message>
    <message>
      <source>How many reconstructions are drawn for every slice. More are steadier and take longer in proportion.</source>
      <translation>Wie viele Rekonstruktionen je Schicht gezogen werden. Mehr sind stetiger und dauern entsprechend länger.</translation>
    </message>
    <message>
      <source>as preset</source>
      <translation>wie Voreinstellung</translation>
    </message>
    <message>
      <source>Steps:</source>
      <translation>Schritte:</translation>
    </message>
    <message>
      <source>Steps of each reconstruction. More are finer and take longer in proportion.</source>
      <translation>Schritte jeder Rekonstruktion. Mehr sind feiner und dauern entsprechend länger.</translation>
    </message>
    <message>
      <source>Seed:</source>
      <translation>Startwert:</translation>
    </message>
    <message>
      <source>Where the random numbers start. The same seed gives the same result.</source>
      <translation>Wo die Zufallszahlen beginnen. Derselbe Startwert gibt dasselbe Ergebnis.</translation>
    </message>
    <message>
      <source>Device:</source>
      <translation>Rechenwerk:</translation>
    </message>
    <message>
      <source>What computes: auto uses a suitable graphics card when there is one.</source>
      <translation>Was rechnet: auto nimmt eine geeignete Grafikkarte, wenn es eine gibt.</translation>
    </message>
    <message>
      <source>Block depth:</source>
      <translation>Blocktiefe:</translation>
    </message>
    <message>
      <source>Extent of a block across slices. 0 adds up each slice by itself. Acts at once.</source>
      <translation>Ausdehnung eines Blocks quer zu den Schichten. 0 summiert jede Schicht für sich. Wirkt sofort.</translation>
    </message>
    <message>
      <source>Own weights:</source>
      <translation>Eigene Gewichte:</translation>
    </message>
    <message>
      <source>Folder with priors of your own: weights (.safetensors) with their card (.json) beside them. They appear in the list of priors.</source>
      <translation>Ordner mit eigenen Priors: Gewichte (.safetensors) mit ihrer Karte (.json) daneben. Sie erscheinen in der Liste der Priors.</translation>
    </message>
    <message>
      <source>This computer</source>
      <translation>Dieser Rechner</translation>
    </message>
    <message>
      <source>Other Python:</source>
      <translation>Anderes Python:</translation>
    </message>
    <message>
      <source>Optional. A Python, or a folder with a Python environment, in which klip and PyTorch are installed. Slicer's own Python then stays as it is. Empty: Slicer's own.</source>
      <translation>Wahlfrei. Ein Python oder der Ordner einer Python-Umgebung, in der klip und PyTorch installiert sind. Slicers eigenes Python bleibt dann, wie es ist. Leer: Slicers eigenes.</translation>
    </message>
    <message>
      <source>Offline packages:</source>
      <translation>Pakete ohne Netz:</translation>
    </message>
    <message>
      <source>Optional. Folder with Python wheels, for a computer without internet: packages are then installed from it and from nowhere else.</source>
      <translation>Wahlfrei. Ordner mit Python-Wheels für einen Rechner ohne Internet: Pakete werden dann nur aus ihm installiert.</translation>
    </message>
    <message>
      <source>Results folder:</source>
      <translation>Ergebnisordner:</translation>
    </message>
    <message>
      <source>Where results are kept, so that a stopped detection continues and the report can be opened. Empty: Slicer's temporary folder.</source>
      <translation>Wo Ergebnisse bleiben, damit eine angehaltene Suche weitergeht und der Bericht sich öffnen lässt. Leer: Slicers temporärer Ordner.</translation>
    </message>
    <message>
      <source>Look what is installed. Nothing is changed or downloaded.</source>
      <translation>Nachsehen, was installiert ist. Nichts wird geändert oder heruntergeladen.</translation>
    </message>
    <message>
      <source>Check</source>
      <translation>Prüfen</translation>
    </message>
    <message>
      <source>Look which of the packages are newer, and install those after a question; Slicer restarts when you agree. Slicer's own packages and PyTorch stay as they are. Nothing of yours is sent.</source>
      <translation>Nachsehen, welche Pakete es neuer gibt, und diese nach einer Frage installieren; Slicer startet neu, wenn Sie zustimmen. Slicers eigene Pakete und PyTorch bleiben, wie sie sind. Nichts von Ihnen wird gesendet.</translation>
    </message>
    <message>
      <source>Update…</source>
      <translation>Aktualisieren…</translation>
    </message>
    <message>
      <source>Whether everything that is needed is installed.</source>
      <translation>Ob alles installiert ist, was gebraucht wird.</translation>
    </message>
    <message>
      <source>Log</source>
      <translation>Protokoll</translation>
    </message>
    <message>
      <source>What was run and what it said, for when something is wrong. It stays on this computer.</source>
      <translation>Was ausgeführt wurde und was es sagte, falls etwas nicht stimmt. Es bleibt auf diesem Rechner.</translation>
    </message>
    <message>
      <source>Copy the log to the clipboard. It names folders and files: look through it before you send it to anybody.</source>
      <translation>Das Protokoll in die Zwischenablage kopieren. Es nennt Ordner und Dateien: vor dem Weitergeben durchsehen.</translation>
    </message>
    <message>
      <source>Copy</source>
      <translation>Kopieren</translation>
    </message>
    <message>
      <source>Empty the log in this panel. Slicer's own log keeps its lines.</source>
      <translation>Das Protokoll hier leeren. Slicers eigenes behält seine Zeilen.</translation>
    </message>
    <message>
      <source>Clear</source>
      <translation>Leeren</translation>
    </message>
    <message>
      <source>Research software. Not a medical device. An unmarked place is not thereby healthy.</source>
      <translation>Forschungssoftware. Kein Medizinprodukt. Was nicht markiert ist, muss deshalb nicht gesund sein.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.audit_controls</name>
    <message>
      <source>Audit</source>
      <translation>Prüfen</translation>
    </message>
    <message>
      <source>Its sinogram, a file</source>
      <translation>Seinem Sinogramm, einer Datei</translation>
    </message>
    <message>
      <source>Another volume</source>
      <translation>Einem anderen Volumen</translation>
    </message>
    <message>
      <source>Stop now. Nothing is kept of an audit that is not finished.</source>
      <translation>Jetzt anhalten. Von einer Prüfung, die nicht fertig ist, bleibt nichts.</translation>
    </message>
    <message>
      <source>Ask the data which structures of this slice were measured.</source>
      <translation>Die Daten fragen, welche Strukturen dieser Schicht gemessen wurden.</translation>
    </message>
    <message>
      <source>Choose the reconstruction that is to be audited.</source>
      <translation>Die Rekonstruktion wählen, die geprüft werden soll.</translation>
    </message>
    <message>
      <source>The chosen reconstruction is empty.</source>
      <translation>Die gewählte Rekonstruktion ist leer.</translation>
    </message>
    <message>
      <source>A detection is running. Wait until it ends, or cancel it.</source>
      <translation>Es wird gerade nach Auffälligkeiten gesucht. Abwarten oder abbrechen.</translation>
    </message>
    <message>
      <source>Choose the volume that it is compared with.</source>
      <translation>Das Volumen wählen, mit dem verglichen wird.</translation>
    </message>
    <message>
      <source>A volume cannot be compared with itself. Choose another one.</source>
      <translation>Ein Volumen kann nicht mit sich selbst verglichen werden. Ein anderes wählen.</translation>
    </message>
    <message>
      <source>The two volumes lie on different voxels. Resample one to the other first.</source>
      <translation>Die beiden Volumen liegen auf verschiedenen Voxeln. Zuerst eines auf das andere umrechnen.</translation>
    </message>
    <message>
      <source>Starting…</source>
      <translation>Beginnt …</translation>
    </message>
    <message>
      <source>Stopped.</source>
      <translation>Angehalten.</translation>
    </message>
    <message>
      <source>Nothing has been audited yet.</source>
      <translation>Noch wurde nichts geprüft.</translation>
    </message>
    <message>
      <source>Pictures, every number and where they come from, in the web browser.</source>
      <translation>Bilder, alle Zahlen und woher sie kommen, im Webbrowser.</translation>
    </message>
    <message>
      <source>The page is no longer where it was written. Audit again.</source>
      <translation>Die Seite ist nicht mehr dort, wohin sie geschrieben wurde. Erneut prüfen.</translation>
    </message>
    <message>
      <source>What was not measured</source>
      <translation>Was nicht gemessen wurde</translation>
    </message>
    <message>
      <source>Residual</source>
      <translation>Abweichung</translation>
    </message>
    <message>
      <source>Nothing</source>
      <translation>Nichts</translation>
    </message>
    <message>
      <source>Stopping…</source>
      <translation>Hält an …</translation>
    </message>
    <message>
      <source>Cancel</source>
      <translation>Abbrechen</translation>
    </message>
    <message>
      <source>Choose the sinogram that it was made from, a file .npz or .mat.</source>
      <translation>Das Sinogramm wählen, aus dem sie entstand, eine Datei .npz oder .mat.</translation>
    </message>
    <message>
      <source>The audited volume is no longer in the scene.</source>
      <translation>Das geprüfte Volumen ist nicht mehr in der Szene.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.audit_run</name>
    <message>
      <source>None of the visible segments lies on this slice.</source>
      <translation>Keines der sichtbaren Segmente liegt auf dieser Schicht.</translation>
    </message>
    <message>
      <source>Choose another slice, show a segment, or choose none: structures are then looked for.</source>
      <translation>Eine andere Schicht wählen, ein Segment einblenden, oder keine Segmentierung wählen: Dann werden Strukturen gesucht.</translation>
    </message>
    <message>
      <source>Audit</source>
      <translation>Prüfen</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.audit_scene</name>
    <message>
      <source>measured</source>
      <translation>gemessen</translation>
    </message>
    <message>
      <source>contradicted</source>
      <translation>widersprochen</translation>
    </message>
    <message>
      <source>unprovable</source>
      <translation>nicht beweisbar</translation>
    </message>
    <message>
      <source>Not measured</source>
      <translation>Nicht gemessen</translation>
    </message>
    <message>
      <source>Residual</source>
      <translation>Abweichung</translation>
    </message>
    <message>
      <source>{name} audited</source>
      <translation>{name} geprüft</translation>
    </message>
    <message>
      <source>{name} audit table</source>
      <translation>{name} Tabelle der Prüfung</translation>
    </message>
    <message>
      <source>{name} audit</source>
      <translation>{name} Prüfung</translation>
    </message>
    <message>
      <source>Audit: {name}</source>
      <translation>Prüfung: {name}</translation>
    </message>
    <message>
      <source>{name} not measured</source>
      <translation>{name} nicht gemessen</translation>
    </message>
    <message>
      <source>{name} residual</source>
      <translation>{name} Abweichung</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.audit_table</name>
    <message>
      <source>Structure</source>
      <translation>Struktur</translation>
    </message>
    <message>
      <source>Its color is that of the verdict.</source>
      <translation>Ihre Farbe ist die des Urteils.</translation>
    </message>
    <message>
      <source>The data say</source>
      <translation>Die Daten sagen</translation>
    </message>
    <message>
      <source>measured: the data hold it. contradicted: they speak against it, so it was probably invented. unprovable: they cannot tell, invented or not.</source>
      <translation>gemessen: Die Daten enthalten sie. widersprochen: Sie sprechen dagegen, sie ist wohl erfunden. nicht beweisbar: Sie können es nicht sagen, erfunden oder nicht.</translation>
    </message>
    <message>
      <source>Held</source>
      <translation>Enthalten</translation>
    </message>
    <message>
      <source>How much of the structure the data hold: 1 all of it, 0 none. With its standard error.</source>
      <translation>Wie viel von der Struktur die Daten enthalten: 1 alles, 0 nichts. Mit Standardfehler.</translation>
    </message>
    <message>
      <source>Nats</source>
      <translation>Nats</translation>
    </message>
    <message>
      <source>For the structure as it is shown, against none. Three are odds of twenty to one.</source>
      <translation>Für die Struktur, wie sie gezeigt wird, gegen keine. Drei stehen für zwanzig zu eins.</translation>
    </message>
    <message>
      <source>Expected</source>
      <translation>Erwartet</translation>
    </message>
    <message>
      <source>Nats that this scan would give were the structure there as shown. Below three it cannot show it.</source>
      <translation>Nats, die diese Aufnahme ergäbe, wäre die Struktur da wie gezeigt. Unter drei kann sie sie nicht zeigen.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.cards</name>
    <message>
      <source>{low:g} to {high:g} HU</source>
      <translation>{low:g} bis {high:g} HU</translation>
    </message>
    <message>
      <source>Knows</source>
      <translation>Kennt</translation>
    </message>
    <message>
      <source>Sees</source>
      <translation>Sieht</translation>
    </message>
    <message>
      <source>For</source>
      <translation>Für</translation>
    </message>
    <message>
      <source>License</source>
      <translation>Lizenz</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.dependencies</name>
    <message>
      <source>PyTorch will be downloaded and installed into Slicer's Python (0.2 to 3 GB). Slicer's own packages are not changed. Continue?</source>
      <translation>PyTorch wird heruntergeladen und in Slicers Python installiert (0,2 bis 3 GB). Slicers eigene Pakete werden nicht geändert. Fortfahren?</translation>
    </message>
    <message>
      <source>PyTorch was not installed. It is needed; press Detect OOD again when you want it.</source>
      <translation>PyTorch wurde nicht installiert. Es wird gebraucht; erneut „Auffälligkeiten suchen“ drücken, wenn Sie es wollen.</translation>
    </message>
    <message>
      <source>{names} will be downloaded and installed into Slicer's Python (PyTorch alone is 0.2 to 3 GB). Slicer's own packages are not changed. Continue?</source>
      <translation>{names} werden heruntergeladen und in Slicers Python installiert (PyTorch allein hat 0,2 bis 3 GB). Slicers eigene Pakete werden nicht geändert. Fortfahren?</translation>
    </message>
    <message>
      <source>Nothing was installed.</source>
      <translation>Nichts wurde installiert.</translation>
    </message>
    <message>
      <source>Slicer's Python was not found. Choose another Python under “This computer”.</source>
      <translation>Slicers Python wurde nicht gefunden. Unter „Dieser Rechner“ ein anderes Python wählen.</translation>
    </message>
    <message>
      <source>Everything is installed: {program}</source>
      <translation>Alles ist installiert: {program}</translation>
    </message>
    <message>
      <source>{names} will be installed into Slicer's Python from {folder}.</source>
      <translation>{names} werden aus {folder} in Slicers Python installiert.</translation>
    </message>
    <message>
      <source>The packages could not be installed. Check the internet connection or its proxy; or choose a folder of wheels, or another Python, under “This computer”. Slicer's own packages were not changed.</source>
      <translation>Die Pakete konnten nicht installiert werden. Internetverbindung oder Proxy prüfen; oder unter „Dieser Rechner“ einen Ordner mit Wheels oder ein anderes Python wählen. Slicers eigene Pakete wurden nicht geändert.</translation>
    </message>
    <message>
      <source>There is no folder {folder}. Choose the one with the wheels.</source>
      <translation>Es gibt keinen Ordner {folder}. Den mit den Wheels wählen.</translation>
    </message>
    <message>
      <source>The chosen Python lacks {names}. Install it there with:
{command}
or leave “Other Python” empty.</source>
      <translation>Dem gewählten Python fehlt {names}. Dort installieren mit:
{command}
oder „Anderes Python“ leer lassen.</translation>
    </message>
    <message>
      <source>{names} is still missing. Install it when asked, or choose another Python under “This computer”.</source>
      <translation>{names} fehlt noch. Auf die Frage hin installieren oder unter „Dieser Rechner“ ein anderes Python wählen.</translation>
    </message>
    <message>
      <source>{names} will be asked for when you press Detect OOD.</source>
      <translation>Nach {names} wird gefragt, wenn Sie „Auffälligkeiten suchen“ drücken.</translation>
    </message>
    <message>
      <source>The chosen Python lacks {names}.</source>
      <translation>Dem gewählten Python fehlt {names}.</translation>
    </message>
    <message>
      <source>{program} is Python {old}; klip needs {new} or newer.</source>
      <translation>{program} ist Python {old}; klip braucht {new} oder neuer.</translation>
    </message>
    <message>
      <source>{names} is missing, and in testing mode nothing is installed.</source>
      <translation>{names} fehlt, und im Testbetrieb wird nichts installiert.</translation>
    </message>
    <message>
      <source>Nothing was installed ({error}).</source>
      <translation>Nichts wurde installiert ({error}).</translation>
    </message>
    <message>
      <source>{program} is no Python that works ({error}).</source>
      <translation>{program} ist kein Python, das funktioniert ({error}).</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.detect_button</name>
    <message>
      <source>Detect OOD</source>
      <translation>Auffälligkeiten suchen</translation>
    </message>
    <message>
      <source>Stop now. Slices that are finished are kept, and used again the next time.</source>
      <translation>Jetzt anhalten. Fertige Schichten bleiben und werden beim nächsten Mal wiederverwendet.</translation>
    </message>
    <message>
      <source>Examine the volume: mark where it departs from the anatomy that the prior knows.</source>
      <translation>Das Volumen untersuchen: markieren, wo es von der Anatomie abweicht, die der Prior kennt.</translation>
    </message>
    <message>
      <source>Choose a CT volume first.</source>
      <translation>Zuerst ein CT-Volumen wählen.</translation>
    </message>
    <message>
      <source>The chosen volume is empty. Load a CT first.</source>
      <translation>Das gewählte Volumen ist leer. Zuerst ein CT laden.</translation>
    </message>
    <message>
      <source>This volume is a result of KLIP. Choose the CT that was examined.</source>
      <translation>Dieses Volumen ist ein Ergebnis von KLIP. Das untersuchte CT wählen.</translation>
    </message>
    <message>
      <source>Choose a prior first.</source>
      <translation>Zuerst einen Prior wählen.</translation>
    </message>
    <message>
      <source>The region of interest lies outside the volume.</source>
      <translation>Der interessierende Bereich liegt außerhalb des Volumens.</translation>
    </message>
    <message>
      <source>Move it onto the volume, or choose None.</source>
      <translation>Ihn auf das Volumen schieben oder „None“ wählen.</translation>
    </message>
    <message>
      <source>Stopping…</source>
      <translation>Wird angehalten…</translation>
    </message>
    <message>
      <source>Cancel</source>
      <translation>Abbrechen</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.detection</name>
    <message>
      <source>The examined volume is no longer in the scene.</source>
      <translation>Das untersuchte Volumen ist nicht mehr in der Szene.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.dicom_origin</name>
    <message>
      <source>The examined volume is no longer in the scene.</source>
      <translation>Das untersuchte Volumen ist nicht mehr in der Szene.</translation>
    </message>
    <message>
      <source>The volume was not loaded from DICOM.</source>
      <translation>Das Volumen wurde nicht aus DICOM geladen.</translation>
    </message>
    <message>
      <source>The DICOM files of this volume are no longer where Slicer's database has them.</source>
      <translation>Die DICOM-Dateien dieses Volumens liegen nicht mehr dort, wo Slicers Datenbank sie hat.</translation>
    </message>
    <message>
      <source>The DICOM files of this volume lie in several folders.</source>
      <translation>Die DICOM-Dateien dieses Volumens liegen in mehreren Ordnern.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.display</name>
    <message>
      <source>KL (nats per block)</source>
      <translation>KL (Nats je Block)</translation>
    </message>
    <message>
      <source>{unit} per block</source>
      <translation>{unit} je Block</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.export_menu</name>
    <message>
      <source>Export the checked regions</source>
      <translation>Die angehakten Bereiche exportieren</translation>
    </message>
    <message>
      <source>Segmentation in the scene</source>
      <translation>Segmentierung in der Szene</translation>
    </message>
    <message>
      <source>A copy of the checked regions as a segmentation of its own, which the sliders leave alone.</source>
      <translation>Eine Kopie der angehakten Bereiche als eigene Segmentierung, die die Regler in Ruhe lassen.</translation>
    </message>
    <message>
      <source>Segmentation file (.seg.nrrd)…</source>
      <translation>Segmentierungsdatei (.seg.nrrd)…</translation>
    </message>
    <message>
      <source>For 3D Slicer: segments with names and colors.</source>
      <translation>Für 3D Slicer: Segmente mit Namen und Farben.</translation>
    </message>
    <message>
      <source>Label image (.nii.gz)…</source>
      <translation>Label-Bild (.nii.gz)…</translation>
    </message>
    <message>
      <source>For other programs: 1 for the first region, 2 for the second, …</source>
      <translation>Für andere Programme: 1 für den ersten Bereich, 2 für den zweiten, …</translation>
    </message>
    <message>
      <source>DICOM SEG (.dcm)…</source>
      <translation>DICOM SEG (.dcm)…</translation>
    </message>
    <message>
      <source>For a PACS: refers to the original images. Needs a volume that was loaded from DICOM and not changed.</source>
      <translation>Für ein PACS: verweist auf die Originalbilder. Braucht ein Volumen, das aus DICOM geladen und nicht geändert wurde.</translation>
    </message>
    <message>
      <source>DICOM results: SEG, map and report…</source>
      <translation>DICOM-Ergebnisse: SEG, Karte und Bericht…</translation>
    </message>
    <message>
      <source>For a PACS: the segmentation, the map as Parametric Map and the numbers as Structured Report.</source>
      <translation>Für ein PACS: die Segmentierung, die Karte als Parametric Map und die Zahlen als Structured Report.</translation>
    </message>
    <message>
      <source>Surfaces (.stl)…</source>
      <translation>Oberflächen (.stl)…</translation>
    </message>
    <message>
      <source>One surface a region, for 3-D programs.</source>
      <translation>Eine Oberfläche je Bereich, für 3D-Programme.</translation>
    </message>
    <message>
      <source>Report (.html)…</source>
      <translation>Bericht (.html)…</translation>
    </message>
    <message>
      <source>One page with pictures, regions, readings and all settings.</source>
      <translation>Eine Seite mit Bildern, Bereichen, Befunden und allen Einstellungen.</translation>
    </message>
    <message>
      <source>Numbers and readings (.json)…</source>
      <translation>Zahlen und Befunde (.json)…</translation>
    </message>
    <message>
      <source>For programs: regions, what you said of them, settings.</source>
      <translation>Für Programme: Bereiche, was Sie dazu gesagt haben, Einstellungen.</translation>
    </message>
    <message>
      <source>Save the checked regions: in the scene, as a file, as DICOM SEG, as surfaces or as a report.</source>
      <translation>Die angehakten Bereiche sichern: in der Szene, als Datei, als DICOM SEG, als Oberflächen oder als Bericht.</translation>
    </message>
    <message>
      <source>Nothing has been examined yet.</source>
      <translation>Es wurde noch nichts untersucht.</translation>
    </message>
    <message>
      <source>No region is checked.</source>
      <translation>Kein Bereich ist angehakt.</translation>
    </message>
    <message>
      <source>The segmentation is in the scene.</source>
      <translation>Die Segmentierung ist in der Szene.</translation>
    </message>
    <message>
      <source>Saved in {path}.</source>
      <translation>Gesichert in {path}.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.exports</name>
    <message>
      <source>No region is checked.</source>
      <translation>Kein Bereich ist angehakt.</translation>
    </message>
    <message>
      <source>Check at least one region in the table.</source>
      <translation>Mindestens einen Bereich in der Tabelle anhaken.</translation>
    </message>
    <message>
      <source>There is no file to write to.</source>
      <translation>Es gibt keine Datei, in die geschrieben werden kann.</translation>
    </message>
    <message>
      <source>Choose one.</source>
      <translation>Eine wählen.</translation>
    </message>
    <message>
      <source>DICOM results must refer to the DICOM images they were made from, and those are not to be found.</source>
      <translation>DICOM-Ergebnisse müssen auf die DICOM-Bilder verweisen, aus denen sie entstanden, und diese sind nicht zu finden.</translation>
    </message>
    <message>
      <source>Load the study through the DICOM module and run the detection again, or use the .seg.nrrd.</source>
      <translation>Die Studie über das DICOM-Modul laden und erneut suchen, oder .seg.nrrd verwenden.</translation>
    </message>
    <message>
      <source>The examined volume is no longer in the scene.</source>
      <translation>Das untersuchte Volumen ist nicht mehr in der Szene.</translation>
    </message>
    <message>
      <source>Load it again, or use another format.</source>
      <translation>Es erneut laden oder ein anderes Format wählen.</translation>
    </message>
    <message>
      <source>Choose a folder you may write to.</source>
      <translation>Einen Ordner wählen, in den Sie schreiben dürfen.</translation>
    </message>
    <message>
      <source>There is no export “{kind}”.</source>
      <translation>Es gibt keinen Export „{kind}“.</translation>
    </message>
    <message>
      <source>Choose from {kinds}.</source>
      <translation>Zur Wahl stehen {kinds}.</translation>
    </message>
    <message>
      <source>This export needs {name}, which Slicer's Python does not have.</source>
      <translation>Dieser Export braucht {name}, das in Slicers Python fehlt.</translation>
    </message>
    <message>
      <source>Install it in Slicer's Python console with slicer.util.pip_install('{name}'), or use another format.</source>
      <translation>Es in Slicers Python-Konsole mit slicer.util.pip_install('{name}') installieren oder ein anderes Format wählen.</translation>
    </message>
    <message>
      <source>{folder} cannot be written to ({reason}).</source>
      <translation>In {folder} kann nicht geschrieben werden ({reason}).</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.failures</name>
    <message>
      <source>Something failed that nobody foresaw ({error}). The application log (Help menu) has the details.</source>
      <translation>Etwas ging schief, das niemand vorhergesehen hat ({error}). Näheres steht im Programmprotokoll (Menü „Help“).</translation>
    </message>
    <message>
      <source>Files could not be read or written ({error}). Look whether the disk is full, and whether the results folder under “This computer” is one that you may write to.</source>
      <translation>Dateien konnten nicht gelesen oder geschrieben werden ({error}). Nachsehen, ob der Datenträger voll ist und ob Sie in den Ergebnisordner unter „Dieser Rechner“ schreiben dürfen.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.live</name>
    <message>
      <source>No slice is finished yet.</source>
      <translation>Noch ist keine Schicht fertig.</translation>
    </message>
    <message>
      <source>Wait for the first one.</source>
      <translation>Die erste abwarten.</translation>
    </message>
    <message>
      <source>Run the detection again.</source>
      <translation>Erneut suchen.</translation>
    </message>
    <message>
      <source>The scene was saved by another version of KLIPSlicer.</source>
      <translation>Die Szene wurde von einer anderen Version von KLIPSlicer gespeichert.</translation>
    </message>
    <message>
      <source>Update the extension, or run the detection again.</source>
      <translation>Die Erweiterung aktualisieren oder erneut suchen.</translation>
    </message>
    <message>
      <source>The KL trace stored in the scene is damaged ({error}).</source>
      <translation>Die in der Szene gespeicherte KL-Aufzeichnung ist beschädigt ({error}).</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.live_controls</name>
    <message>
      <source>Recommended</source>
      <translation>Empfohlen</translation>
    </message>
    <message>
      <source>Fine (0.08 to 0.16)</source>
      <translation>Fein (0.08 bis 0.16)</translation>
    </message>
    <message>
      <source>Coarse (0.16 to 0.32)</source>
      <translation>Grob (0.16 bis 0.32)</translation>
    </message>
    <message>
      <source>Large lesions (0.32 to 1.60)</source>
      <translation>Große Läsionen (0.32 bis 1.60)</translation>
    </message>
    <message>
      <source>Wide (0.02 to 0.40, score “klip”)</source>
      <translation>Weit (0.02 bis 0.40, Maß „klip“)</translation>
    </message>
    <message>
      <source>Custom</source>
      <translation>Eigen</translation>
    </message>
    <message>
      <source>Map and regions could not follow. The application log has the details.</source>
      <translation>Karte und Bereiche konnten nicht folgen. Einzelheiten stehen im Programmprotokoll.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.look_within</name>
    <message>
      <source>Everywhere</source>
      <translation>Überall</translation>
    </message>
    <message>
      <source>The segmentation could not be read. The application log has the details.</source>
      <translation>Die Segmentierung konnte nicht gelesen werden. Näheres steht im Programmprotokoll.</translation>
    </message>
    <message>
      <source>All segments</source>
      <translation>Alle Segmente</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.nodes</name>
    <message>
      <source>The volume is empty.</source>
      <translation>Das Volumen ist leer.</translation>
    </message>
    <message>
      <source>Load a CT volume first.</source>
      <translation>Zuerst ein CT-Volumen laden.</translation>
    </message>
    <message>
      <source>The volume has several numbers a voxel (color or a time series).</source>
      <translation>Das Volumen hat mehrere Zahlen je Voxel (Farbe oder eine Zeitreihe).</translation>
    </message>
    <message>
      <source>Choose a plain CT.</source>
      <translation>Ein einfaches CT wählen.</translation>
    </message>
    <message>
      <source>The map was changed by another module.</source>
      <translation>Die Karte wurde von einem anderen Modul geändert.</translation>
    </message>
    <message>
      <source>Run the detection again.</source>
      <translation>Erneut suchen.</translation>
    </message>
    <message>
      <source>The result does not lie on this volume's voxels.</source>
      <translation>Das Ergebnis liegt nicht auf den Voxeln dieses Volumens.</translation>
    </message>
    <message>
      <source>Choose the very volume that was examined, or run the detection again.</source>
      <translation>Genau das untersuchte Volumen wählen oder erneut suchen.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.organs</name>
    <message>
      <source>The segment to look within is gone.</source>
      <translation>Das Segment, in dem gesucht werden soll, ist weg.</translation>
    </message>
    <message>
      <source>Choose another one.</source>
      <translation>Ein anderes wählen.</translation>
    </message>
    <message>
      <source>The segmentation does not overlap with the study.</source>
      <translation>Die Segmentierung überlappt die Studie nicht.</translation>
    </message>
    <message>
      <source>Choose one that was made of this volume.</source>
      <translation>Eine wählen, die zu diesem Volumen gemacht wurde.</translation>
    </message>
    <message>
      <source>The segment lies outside the study, or is empty.</source>
      <translation>Das Segment liegt außerhalb der Studie oder ist leer.</translation>
    </message>
    <message>
      <source>The segmentation and the study are apart by a transform that is not linear.</source>
      <translation>Zwischen Segmentierung und Studie liegt eine Transformation, die nicht linear ist.</translation>
    </message>
    <message>
      <source>Harden the transforms of both first.</source>
      <translation>Zuerst die Transformationen beider fest anwenden (Harden).</translation>
    </message>
    <message>
      <source>The segmentation has no binary labelmap.</source>
      <translation>Die Segmentierung hat keine binäre Labelmap.</translation>
    </message>
    <message>
      <source>Create that representation in the Segmentations module.</source>
      <translation>Diese Darstellung im Modul „Segmentations“ erzeugen.</translation>
    </message>
    <message>
      <source>The segmentation has {n} segments.</source>
      <translation>Die Segmentierung hat {n} Segmente.</translation>
    </message>
    <message>
      <source>Choose one of at most {n}.</source>
      <translation>Eine mit höchstens {n} wählen.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.other_python</name>
    <message>
      <source>There is no Python at {path}. Choose its executable or its environment's folder.</source>
      <translation>Unter {path} gibt es kein Python. Das Programm oder den Ordner seiner Umgebung wählen.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.outputs</name>
    <message>
      <source>Choose another node under “Outputs”, or a new one.</source>
      <translation>Unter „Ausgaben“ einen anderen Knoten oder einen neuen wählen.</translation>
    </message>
    <message>
      <source>Results cannot go into the CT that is examined.</source>
      <translation>Ergebnisse können nicht in das CT, das untersucht wird.</translation>
    </message>
    <message>
      <source>Regions cannot go into the segmentation that organs are read from.</source>
      <translation>Bereiche können nicht in die Segmentierung, aus der die Organe gelesen werden.</translation>
    </message>
    <message>
      <source>Map and reconstruction cannot go into the same volume.</source>
      <translation>Karte und Rekonstruktion können nicht in dasselbe Volumen.</translation>
    </message>
    <message>
      <source>Choose two, or new ones.</source>
      <translation>Zwei verschiedene wählen, oder neue.</translation>
    </message>
    <message>
      <source>Results cannot go into {name}, which is of another kind.</source>
      <translation>Ergebnisse können nicht in {name}, das von anderer Art ist.</translation>
    </message>
    <message>
      <source>{name} was loaded from DICOM and would be lost.</source>
      <translation>{name} wurde aus DICOM geladen und ginge verloren.</translation>
    </message>
    <message>
      <source>{name} shows an item of a sequence.</source>
      <translation>{name} zeigt ein Element einer Sequenz.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.panel</name>
    <message>
      <source>Stopping…</source>
      <translation>Wird angehalten…</translation>
    </message>
    <message>
      <source>1 region stands out ({took}).</source>
      <translation>1 Bereich fällt auf ({took}).</translation>
    </message>
    <message>
      <source>{n} regions stand out ({took}).</source>
      <translation>{n} Bereiche fallen auf ({took}).</translation>
    </message>
    <message>
      <source>Stopped. Finished slices are kept: Detect OOD continues with the others.</source>
      <translation>Angehalten. Fertige Schichten bleiben: „Auffälligkeiten suchen“ macht mit den anderen weiter.</translation>
    </message>
    <message>
      <source>Stopped.</source>
      <translation>Angehalten.</translation>
    </message>
    <message>
      <source>A part of the results was deleted from the scene. Press Detect OOD again.</source>
      <translation>Ein Teil der Ergebnisse wurde aus der Szene gelöscht. Erneut „Auffälligkeiten suchen“ drücken.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.platforms</name>
    <message>
      <source>The device “mps” is the graphics of Apple's computers. Choose “auto” under “Advanced”.</source>
      <translation>Das Rechenwerk „mps“ ist die Grafik von Apple-Rechnern. Unter „Erweitert“ „auto“ wählen.</translation>
    </message>
    <message>
      <source>Apple's computers have no CUDA. Choose “mps” or “cpu” under “Advanced”.</source>
      <translation>Apple-Rechner haben kein CUDA. Unter „Erweitert“ „mps“ oder „cpu“ wählen.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.queue_controls</name>
    <message>
      <source>waiting</source>
      <translation>wartet</translation>
    </message>
    <message>
      <source>running</source>
      <translation>läuft</translation>
    </message>
    <message>
      <source>no longer in the scene</source>
      <translation>nicht mehr in der Szene</translation>
    </message>
    <message>
      <source>refused</source>
      <translation>abgelehnt</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.raw_nrrd</name>
    <message>
      <source>Choose another results folder under “This computer”, with space left.</source>
      <translation>Unter „Dieser Rechner“ einen anderen Ergebnisordner mit freiem Platz wählen.</translation>
    </message>
    <message>
      <source>{path} cannot be written ({reason}).</source>
      <translation>{path} kann nicht geschrieben werden ({reason}).</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.reading_controls</name>
    <message>
      <source>not read</source>
      <translation>nicht befundet</translation>
    </message>
    <message>
      <source>real</source>
      <translation>echt</translation>
    </message>
    <message>
      <source>normal variant</source>
      <translation>Normvariante</translation>
    </message>
    <message>
      <source>artefact</source>
      <translation>Artefakt</translation>
    </message>
    <message>
      <source>unsure</source>
      <translation>unsicher</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.region_table</name>
    <message>
      <source>The segment that holds most of the region, of the segmentation under “Organs”.</source>
      <translation>Das Segment, in dem der größte Teil des Bereichs liegt, aus der Segmentierung unter „Organe“.</translation>
    </message>
    <message>
      <source>Organ</source>
      <translation>Organ</translation>
    </message>
    <message>
      <source>unknown</source>
      <translation>unbekannt</translation>
    </message>
    <message>
      <source>Region</source>
      <translation>Bereich</translation>
    </message>
    <message>
      <source>Name and color. Uncheck to hide the region and to keep it out of exports. Your reading: ✓ real, ≈ normal variant, ✗ artefact, ? unsure, … a note.</source>
      <translation>Name und Farbe. Ohne Häkchen wird der Bereich ausgeblendet und fehlt beim Export. Ihr Befund: ✓ echt, ≈ Normvariante, ✗ Artefakt, ? unsicher, … eine Notiz.</translation>
    </message>
    <message>
      <source>Total</source>
      <translation>Summe</translation>
    </message>
    <message>
      <source>Departure from healthy anatomy in all, in the score's unit: the larger, the less it was expected.</source>
      <translation>Abweichung von gesunder Anatomie insgesamt, in der Einheit des Maßes: je größer, desto weniger wurde sie erwartet.</translation>
    </message>
    <message>
      <source>Peak</source>
      <translation>Spitze</translation>
    </message>
    <message>
      <source>The strongest block in the region, in the unit of the map's colors.</source>
      <translation>Der stärkste Block im Bereich, in der Einheit der Farben.</translation>
    </message>
    <message>
      <source>How often chance alone would mark even one region like this in such a scan. Small is surer.</source>
      <translation>Wie oft der Zufall allein in einer solchen Aufnahme auch nur einen solchen Bereich markieren würde. Klein ist sicherer.</translation>
    </message>
    <message>
      <source>Part of the regions as strong as this one or stronger that chance may have made. Small is surer.</source>
      <translation>Teil der mindestens so starken Bereiche, den der Zufall gemacht haben kann. Klein ist sicherer.</translation>
    </message>
    <message>
      <source>mL</source>
      <translation>ml</translation>
    </message>
    <message>
      <source>Volume of the marked region. It may reach up to half a block beyond what caused it.</source>
      <translation>Volumen des markierten Bereichs. Er kann bis zu einem halben Block über seine Ursache hinausreichen.</translation>
    </message>
    <message>
      <source>Slices</source>
      <translation>Schichten</translation>
    </message>
    <message>
      <source>First and last slice, counted from the feet, from 0.</source>
      <translation>Erste und letzte Schicht, von den Füßen an gezählt, ab 0.</translation>
    </message>
    <message>
      <source>In health</source>
      <translation>Bei Gesunden</translation>
    </message>
    <message>
      <source>How many regions as strong a healthy study of this size shows: 1:25 is one in 25 studies. Empty where no reference of health judged; then see p and q. ~ marks what was found over several centimeters: its outline is rough.</source>
      <translation>Wie viele so starke Bereiche eine gesunde Studie dieser Größe zeigt: 1:25 ist einer in 25 Studien. Leer, wo keine Referenz Gesunder geurteilt hat; dann gelten p und q. ~ steht vor dem, was über mehrere Zentimeter gefunden wurde: Sein Umriss ist grob.</translation>
    </message>
    <message>
      <source>Found over several centimeters: its outline is rough.</source>
      <translation>Über mehrere Zentimeter gefunden: Der Umriss ist grob.</translation>
    </message>
    <message>
      <source>outside</source>
      <translation>außerhalb</translation>
    </message>
    <message>
      <source>{name}: total {total}, p = {p}, q = {q}. Click to see it in all views.</source>
      <translation>{name}: Summe {total}, p = {p}, q = {q}. Ein Klick zeigt ihn in allen Ansichten.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.results_list</name>
    <message>
      <source>Nothing has been examined yet.</source>
      <translation>Es wurde noch nichts untersucht.</translation>
    </message>
    <message>
      <source>Nothing stands out from what chance would mark. That does not mean that nothing is there.</source>
      <translation>Nichts fällt gegenüber dem auf, was der Zufall markieren würde. Das heißt nicht, dass nichts da ist.</translation>
    </message>
    <message>
      <source>1 region, {ml} mL.</source>
      <translation>1 Bereich, {ml} ml.</translation>
    </message>
    <message>
      <source>{n} regions, {ml} mL together.</source>
      <translation>{n} Bereiche, zusammen {ml} ml.</translation>
    </message>
    <message>
      <source>Within {names} alone: {text}</source>
      <translation>Nur in {names}: {text}</translation>
    </message>
    <message>
      <source>At most {fdr} % of what is marked is expected to be chance.</source>
      <translation>Höchstens {fdr} % des Markierten sind als Zufall zu erwarten.</translation>
    </message>
    <message>
      <source>As much average healthy tissue shows {n}.</source>
      <translation>Ebenso viel durchschnittliches gesundes Gewebe zeigt {n}.</translation>
    </message>
    <message>
      <source>A healthy study of this size shows {n}.</source>
      <translation>Eine gesunde Studie dieser Größe zeigt {n}.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.runner</name>
    <message>
      <source>Detect OOD</source>
      <translation>Auffälligkeiten suchen</translation>
    </message>
    <message>
      <source>The graphics card ran out of memory. Choose the device “cpu” or fewer samples under “Advanced”.</source>
      <translation>Der Grafikkarte ging der Speicher aus. Unter „Erweitert“ das Rechenwerk „cpu“ oder weniger Stichproben wählen.</translation>
    </message>
    <message>
      <source>Python packages of different versions do not fit each other. Choose a separate Python environment with klip under “This computer”.</source>
      <translation>Python-Pakete verschiedener Versionen passen nicht zueinander. Unter „Dieser Rechner“ eine eigene Python-Umgebung mit klip wählen.</translation>
    </message>
    <message>
      <source>crashed</source>
      <translation>ist abgestürzt</translation>
    </message>
    <message>
      <source>klip {how}. {last} Press {button} again to continue from what is finished; if it happens again, the application log (Help menu) has the details.</source>
      <translation>klip {how}. {last} Erneut „{button}“ drücken, um mit dem weiterzumachen, was fertig ist; geschieht es wieder, steht Näheres im Programmprotokoll (Menü „Help“).</translation>
    </message>
    <message>
      <source>The Python at {program} cannot be started. Choose another one under “This computer”.</source>
      <translation>Das Python unter {program} lässt sich nicht starten. Unter „Dieser Rechner“ ein anderes wählen.</translation>
    </message>
    <message>
      <source>The Python package {name} is missing where klip runs. Press {button} again to install what is missing, or choose another Python under “This computer”.</source>
      <translation>Wo klip läuft, fehlt das Python-Paket {name}. Erneut „{button}“ drücken, um Fehlendes zu installieren, oder unter „Dieser Rechner“ ein anderes Python wählen.</translation>
    </message>
    <message>
      <source>The computer ran out of memory. Close other programs, choose fewer slices or a smaller region, then press {button} again: what is finished is kept.</source>
      <translation>Dem Rechner ging der Speicher aus. Andere Programme schließen, weniger Schichten oder einen kleineren Bereich wählen, dann erneut „{button}“ drücken: Was fertig ist, bleibt.</translation>
    </message>
    <message>
      <source>ended with code {code}</source>
      <translation>endete mit Code {code}</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.sample_study</name>
    <message>
      <source>The synthetic study could not be made.</source>
      <translation>Die synthetische Studie konnte nicht erzeugt werden.</translation>
    </message>
    <message>
      <source>KLIP: out-of-distribution detection</source>
      <translation>KLIP: Erkennung von Auffälligkeiten</translation>
    </message>
    <message>
      <source>Drawing a synthetic patient</source>
      <translation>Ein synthetischer Patient wird gezeichnet</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.scene_results</name>
    <message>
      <source>The examined volume is no longer in the scene.</source>
      <translation>Das untersuchte Volumen ist nicht mehr in der Szene.</translation>
    </message>
    <message>
      <source>Load it again.</source>
      <translation>Es erneut laden.</translation>
    </message>
    <message>
      <source>A part of the results was deleted from the scene.</source>
      <translation>Ein Teil der Ergebnisse wurde aus der Szene gelöscht.</translation>
    </message>
    <message>
      <source>Run the detection again.</source>
      <translation>Erneut suchen.</translation>
    </message>
    <message>
      <source>There is no trace behind these results.</source>
      <translation>Zu diesen Ergebnissen gibt es keine Aufzeichnung.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.sequences</name>
    <message>
      <source>This volume shows item {k} of {n} of a sequence. The item that is shown is examined.</source>
      <translation>Dieses Volumen zeigt Bild {k} von {n} einer Sequenz. Untersucht wird, was gezeigt ist.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.server_controls</name>
    <message>
      <source>Who examines the volume. A server needs nothing to be installed here.</source>
      <translation>Wer das Volumen untersucht. Mit einem Server muss hier nichts installiert werden.</translation>
    </message>
    <message>
      <source>File with the token that the server's administrator gave you.</source>
      <translation>Datei mit dem Token, das Sie von der Verwaltung des Servers erhalten haben.</translation>
    </message>
    <message>
      <source>Optional. Certificate of a server that made its own, a PEM file.</source>
      <translation>Optional. Zertifikat eines Servers, der es selbst ausgestellt hat, als PEM-Datei.</translation>
    </message>
    <message>
      <source>Say hello to the server. Nothing of the study is sent.</source>
      <translation>Den Server ansprechen. Von der Studie wird nichts gesendet.</translation>
    </message>
    <message>
      <source>Asking the server…</source>
      <translation>Der Server wird gefragt…</translation>
    </message>
    <message>
      <source>This computer</source>
      <translation>Dieser Rechner</translation>
    </message>
    <message>
      <source>Server</source>
      <translation>Server</translation>
    </message>
    <message>
      <source>Test connection</source>
      <translation>Verbindung prüfen</translation>
    </message>
    <message>
      <source>Examine on:</source>
      <translation>Untersuchen auf:</translation>
    </message>
    <message>
      <source>Server:</source>
      <translation>Server:</translation>
    </message>
    <message>
      <source>Token file:</source>
      <translation>Token-Datei:</translation>
    </message>
    <message>
      <source>Certificate:</source>
      <translation>Zertifikat:</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.status</name>
    <message>
      <source>Looking through the volume</source>
      <translation>Das Volumen wird durchgesehen</translation>
    </message>
    <message>
      <source>Starting</source>
      <translation>Beginn</translation>
    </message>
    <message>
      <source>Sending the study to the server</source>
      <translation>Die Studie wird zum Server gesendet</translation>
    </message>
    <message>
      <source>Waiting for the server</source>
      <translation>Warten auf den Server</translation>
    </message>
    <message>
      <source>Reading the study</source>
      <translation>Die Studie wird gelesen</translation>
    </message>
    <message>
      <source>Finding the body</source>
      <translation>Der Körper wird gesucht</translation>
    </message>
    <message>
      <source>Examining</source>
      <translation>Untersuchung</translation>
    </message>
    <message>
      <source>Adding up nats</source>
      <translation>Nats werden summiert</translation>
    </message>
    <message>
      <source>Auditing</source>
      <translation>Prüfung</translation>
    </message>
    <message>
      <source>Writing results</source>
      <translation>Ergebnisse werden geschrieben</translation>
    </message>
    <message>
      <source>Bringing the results</source>
      <translation>Die Ergebnisse werden geholt</translation>
    </message>
    <message>
      <source>Done</source>
      <translation>Fertig</translation>
    </message>
    <message>
      <source>a few seconds left</source>
      <translation>noch einige Sekunden</translation>
    </message>
    <message>
      <source>about {n} h left</source>
      <translation>noch etwa {n} h</translation>
    </message>
    <message>
      <source>Starting…</source>
      <translation>Beginn…</translation>
    </message>
    <message>
      <source>about {n} s left</source>
      <translation>noch etwa {n} s</translation>
    </message>
    <message>
      <source>about {n} min left</source>
      <translation>noch etwa {n} min</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.study_controls</name>
    <message>
      <source>No prior was found. Choose a folder under “Advanced”.</source>
      <translation>Kein Prior wurde gefunden. Unter „Erweitert“ einen Ordner wählen.</translation>
    </message>
    <message>
      <source>{name} (own)</source>
      <translation>{name} (eigener)</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.study_source</name>
    <message>
      <source>The volume changed while it was read.</source>
      <translation>Das Volumen änderte sich, während es gelesen wurde.</translation>
    </message>
    <message>
      <source>Stop the sequence that plays, and press Detect OOD again.</source>
      <translation>Die laufende Sequenz anhalten und erneut „Auffälligkeiten suchen“ drücken.</translation>
    </message>
    <message>
      <source>The volume was changed after it was loaded from DICOM.</source>
      <translation>Das Volumen wurde geändert, nachdem es aus DICOM geladen war.</translation>
    </message>
    <message>
      <source>It is examined from a temporary file; a DICOM SEG will not be possible.</source>
      <translation>Es wird aus einer temporären Datei untersucht; ein DICOM SEG wird nicht möglich sein.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.suitability</name>
    <message>
      <source>The volume could not be looked through ({error}). The application log (Help menu) has the details; Slicer's own Python packages may have been exchanged.</source>
      <translation>Das Volumen konnte nicht durchgesehen werden ({error}). Näheres steht im Programmprotokoll (Menü „Help“); vielleicht wurden Slicers eigene Python-Pakete ausgetauscht.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.update_controls</name>
    <message>
      <source>Looking what is newer…</source>
      <translation>Es wird nachgesehen, was es neuer gibt…</translation>
    </message>
    <message>
      <source>Takes the old KLIPCore out of Slicer's Python, after a question. Nothing is downloaded.</source>
      <translation>Entfernt nach einer Frage das alte KLIPCore aus Slicers Python. Nichts wird heruntergeladen.</translation>
    </message>
    <message>
      <source>A detection is running. Cancel it first, or wait.</source>
      <translation>Eine Untersuchung läuft. Erst abbrechen oder warten.</translation>
    </message>
    <message>
      <source>Nothing is newer. PyTorch is updated by the PyTorch extension.</source>
      <translation>Nichts gibt es neuer. PyTorch wird von der PyTorch-Erweiterung aktualisiert.</translation>
    </message>
    <message>
      <source>Nothing was changed.</source>
      <translation>Nichts wurde geändert.</translation>
    </message>
    <message>
      <source>These packages will be downloaded and installed into Slicer's Python:

{list}

Slicer's own packages and PyTorch are not changed. Continue?</source>
      <translation>Diese Pakete werden heruntergeladen und in Slicers Python installiert:

{list}

Slicers eigene Pakete und PyTorch werden nicht geändert. Fortfahren?</translation>
    </message>
    <message>
      <source>Updated: {list}.</source>
      <translation>Aktualisiert: {list}.</translation>
    </message>
    <message>
      <source>Take it out and restart</source>
      <translation>Entfernen und neu starten</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.updates</name>
    <message>
      <source>Restart Slicer before the next detection.</source>
      <translation>Slicer vor der nächsten Untersuchung neu starten.</translation>
    </message>
    <message>
      <source>KLIPCore {version} is installed in Slicer's Python and hides the one that came with this module, which needs {needed} or newer. Take the old one out and restart Slicer.</source>
      <translation>KLIPCore {version} ist in Slicers Python installiert und verdeckt das mitgelieferte; dieses Modul braucht {needed} oder neuer. Das alte entfernen und Slicer neu starten.</translation>
    </message>
    <message>
      <source>In testing mode nothing is updated.</source>
      <translation>Im Testbetrieb wird nichts aktualisiert.</translation>
    </message>
    <message>
      <source>No KLIPCore came with this module. Install the KLIPSlicer extension again.</source>
      <translation>Mit diesem Modul kam kein KLIPCore. Die Erweiterung KLIPSlicer neu installieren.</translation>
    </message>
    <message>
      <source>KLIPCore will be taken out of Slicer's Python. Continue?</source>
      <translation>KLIPCore wird aus Slicers Python entfernt. Fortfahren?</translation>
    </message>
    <message>
      <source>Nothing was changed.</source>
      <translation>Nichts wurde geändert.</translation>
    </message>
    <message>
      <source>What was updated is used after a restart. Restart Slicer now? What is not saved in the scene is lost.</source>
      <translation>Aktualisiertes wird nach einem Neustart benutzt. Slicer jetzt neu starten? Was in der Szene nicht gespeichert ist, geht verloren.</translation>
    </message>
    <message>
      <source>Slicer could not restart itself ({error}). Close it and start it again.</source>
      <translation>Slicer konnte sich nicht selbst neu starten ({error}). Bitte schließen und wieder öffnen.</translation>
    </message>
    <message>
      <source>Another Python is chosen, and nothing is changed there from here. Update it with:
{command}</source>
      <translation>Ein anderes Python ist gewählt, und von hier aus wird dort nichts geändert. Es lässt sich so aktualisieren:
{command}</translation>
    </message>
    <message>
      <source>{names} will be asked for when you press Detect OOD; what is installed then is new.</source>
      <translation>Nach {names} wird gefragt, wenn Sie „Auffälligkeiten suchen“ drücken; was dann installiert wird, ist neu.</translation>
    </message>
    <message>
      <source>The update was given up: pip would exchange {names}, which must stay.</source>
      <translation>Die Aktualisierung wurde aufgegeben: pip würde {names} austauschen, was bleiben muss.</translation>
    </message>
    <message>
      <source>It is not known what is newer ({error}). Check the internet connection or its proxy, or choose a folder of wheels. Nothing was changed.</source>
      <translation>Es ist nicht bekannt, was es neuer gibt ({error}). Internetverbindung oder Proxy prüfen oder einen Ordner mit Wheels wählen. Nichts wurde geändert.</translation>
    </message>
    <message>
      <source>Slicer's pip did not say what is newer ({error}). Nothing was changed.</source>
      <translation>Slicers pip hat nicht gesagt, was es neuer gibt ({error}). Nichts wurde geändert.</translation>
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.version</name>
    <message>
      <source>KLIP needs 3D Slicer {oldest} or newer, and this is {here}. Download the newer one; both can be installed side by side.</source>
      <translation>KLIP braucht 3D Slicer {oldest} oder neuer, und dies ist {here}. Die neuere Fassung herunterladen; beide lassen sich nebeneinander installieren.</translation>
    </message>
  </context>
</TS>
